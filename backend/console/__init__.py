"""The admin, with a page of figures."""
