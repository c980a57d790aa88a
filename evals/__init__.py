"""Does it answer well, and how fast."""
