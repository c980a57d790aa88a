"""What is right about one answer: one scorer per file, each with its definition and where it comes from.

All of them are deterministic and need no model. A scorer returns None for what it does not apply to.
"""
