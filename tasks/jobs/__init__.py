"""One small file per job: `run()` does it, and returns what it did in counts, or raises. tasks/table.py says when."""
