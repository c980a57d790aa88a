"""Back up the instance into DATA_DIR/backups and keep the newest BACKUPS_KEPT."""

import logging

from django.conf import settings

from backend.backups.making import make_backup, prune

logger = logging.getLogger(__name__)


def run() -> dict[str, int]:
    """BackupError when none was made; then none is deleted either."""
    made = make_backup()
    gone = prune(settings.ENV.backups_kept)
    logger.info("%s: %.1f MB, %d documents; %d old ones went", made.path, made.size / 1e6, made.documents, len(gone))
    for path, reason in made.left_out.items():
        logger.warning("not in the backup: %s: %s", path, reason)
    return {"bytes": made.size, "documents": made.documents, "left_out": len(made.left_out)}
