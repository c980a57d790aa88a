"""One small file per job; tasks/scheduler.py says when each runs."""
