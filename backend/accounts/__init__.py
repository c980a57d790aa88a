"""Who is asking: users and their tokens."""
