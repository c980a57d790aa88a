"""The vector stores behind the seam of vectorstore/store.py. Each imports its library when it is opened."""
