"""The product's settings with every default, whatever this machine's environment and `.env` say.

TEST_DATABASE_URL runs the suite on another database than SQLite.
"""

import atexit
import os
import shutil
import tempfile

from backend.environment import as_unset

os.environ |= as_unset()  # what is set in the environment wins over `.env`
os.environ["DATABASE_URL"] = os.environ.get("TEST_DATABASE_URL", "")
os.environ["DATA_DIR"] = tempfile.mkdtemp(prefix="footnote-tests-")
atexit.register(shutil.rmtree, os.environ["DATA_DIR"], ignore_errors=True)

from backend.settings import *  # noqa: E402, F403 (the environment had to come first)
from backend.settings import DATABASES  # noqa: E402

if not os.environ["DATABASE_URL"]:  # a file, as in the product: SQLite in memory locks differently
    DATABASES["default"]["TEST"] = {"NAME": os.path.join(os.environ["DATA_DIR"], "test.sqlite3")}  # noqa: PTH118
