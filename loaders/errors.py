"""Why a file, or the folder, could not be taken.

FolderUnavailable    the watched folder is missing or cannot be listed; nothing may be concluded from that
ChangedWhileReading  the file was written to while it was read; take it later
LoadError            the file cannot be read into text; the message is shown to users as the source's error
├── UnsupportedFormat   no loader for this content
├── NoText              readable, but holds no text (empty, or scanned pages without a text layer)
├── Protected           encrypted with a password
├── Damaged             truncated, malformed, or not what its name says
├── TooLarge            over a limit on size, pages or characters
└── ParserDied          the parsing process ran out of time or memory on this file
"""


class FolderUnavailable(Exception):
    """The watched folder is missing or cannot be listed."""


class ChangedWhileReading(Exception):
    """The file was written to while it was read."""


class LoadError(Exception):
    """The file cannot be read into text; `str(error)` says why in words for the owner of the file."""


class UnsupportedFormat(LoadError):
    """No loader reads this content."""


class NoText(LoadError):
    """The file is readable and holds no text."""


class Protected(LoadError):
    """The file is encrypted with a password."""


class Damaged(LoadError):
    """The file is truncated, malformed, or not what its name says."""


class TooLarge(LoadError):
    """The file is over a limit on size, pages or characters."""


class ParserDied(LoadError):
    """The parsing process ran out of time or memory on this file."""
