"""What becomes of tables of the index that can't be read, and how to see that all of it is gone. Without LanceDB.

A table is damaged by a disk, or written by a newer version. The rest of the index goes on, and its beginning is
forgotten: an index without one is built again from EVENTS.
"""

from __future__ import annotations

import errno
import re
import time
from pathlib import Path

from shared.runtime.errors import SettingError

# The table that says which consumer the rows are made from.
ABOUT = "about"
# In the folder of the index, which may be all of a disk.
ASIDE = ".unreadable"
_SYSTEM = re.compile(r"\(os error ([0-9]+)\)")


def is_begun(where: str) -> bool:
    """Whether the index in a folder knows what it is made from. Raises OSError where the folder can't be looked at."""
    return _folder(where, ABOUT).is_dir()


def may_pass(error: BaseException) -> bool:
    """Whether the table may be as good as any: the system failed, by an I/O error or for want of files or memory.

    LanceDB gives the system's errors as text. What is not found is damage.
    """
    if isinstance(error, MemoryError):
        return True
    number = _SYSTEM.search(str(error))
    code = error.errno if isinstance(error, OSError) else int(number[1]) if number else None
    return code not in (None, errno.ENOENT)


def set_aside(where: str, table: str, error: Exception) -> Path:
    """Move a table out of the index; where it is now, beside those that were moved before.

    Raises SettingError where the index is not in a folder, OSError where the disk takes no change.
    """
    if "://" in where:
        raise SettingError(
            f"table {table} of the index in {where} can't be read ({error}): give SEARCH_INDEX another place, and run "
            "'tidegate reindex', which builds the index again from EVENTS"
        ) from error
    aside = Path(where) / ASIDE / f"{table}-{time.time_ns()}"
    aside.parent.mkdir(exist_ok=True)
    return _folder(where, table).rename(aside)


def _folder(where: str, table: str) -> Path:
    return Path(where) / f"{table}.lance"
