"""One file that holds an instance: its database as of one moment, its documents, what it learned. And the way back."""
