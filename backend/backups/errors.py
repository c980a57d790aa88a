"""What goes wrong with backups. Each message is one line for the operator.

BackupError
├── NotMade      no backup was made; nothing lies under its name
├── Refused      nothing was restored, and nothing was changed
│   └── Damaged  the file is not what a backup wrote
└── PutBack      a restore failed half-way, and what was there before is there again
"""


class BackupError(Exception):
    """The family."""


class NotMade(BackupError):
    """No backup was made; nothing lies under its name."""


class Refused(BackupError):
    """Nothing was restored, and nothing was changed."""


class Damaged(Refused):
    """The file is not what a backup wrote."""


class PutBack(BackupError):
    """A restore failed half-way, and what was there before is there again."""
