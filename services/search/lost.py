"""What becomes of tables of the index that can't be read, and how to see that all of it is gone. Without LanceDB.

A table is damaged by a disk, or written by a newer version. The rest of the index goes on, and its beginning is
forgotten: an index without one is built again from EVENTS.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from shared.runtime.errors import SettingError

# The table that says which consumer the rows are made from.
ABOUT = "about"
# In the folder of the index, which may be all of a disk.
ASIDE = ".unreadable"


def is_begun(where: str) -> bool:
    """Whether the index in a folder knows what it is made from."""
    return _folder(where, ABOUT).is_dir()


def set_aside(where: str, table: str, error: Exception) -> Path:
    """Move a table out of the index; where it is now. One of its name that was there before is deleted.

    Raises SettingError where the index is not in a folder.
    """
    if "://" in where:
        raise SettingError(
            f"table {table} of the index in {where} can't be read ({error}): give SEARCH_INDEX another place, and run "
            "'tidegate reindex', which builds the index again from EVENTS"
        ) from error
    aside = Path(where) / ASIDE / table
    shutil.rmtree(aside, ignore_errors=True)
    aside.parent.mkdir(exist_ok=True)
    return _folder(where, table).rename(aside)


def _folder(where: str, table: str) -> Path:
    return Path(where) / f"{table}.lance"
