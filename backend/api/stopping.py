"""Whether this process was told to stop. An answer that is being streamed ends at its next event then."""

from threading import Event

told_to_stop = Event()
