"""Django's SQLite, with the threads of a process taking turns at writing; see base.py."""
