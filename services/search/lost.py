"""Handles unreadable tables of the index, and detects that all of it is gone. Without LanceDB.

A disk damages a table, or a newer version wrote it. The rest of the index goes on, and its beginning is forgotten: an
index without a beginning is rebuilt from EVENTS.
"""

from __future__ import annotations

import errno
import re
import time
from pathlib import Path

from shared.runtime.errors import SettingError

# The table that names the consumer of the rows.
ABOUT = "about"
# A subfolder of the index, as the index may be a whole disk.
ASIDE = ".unreadable"
_SYSTEM = re.compile(r"\(os error ([0-9]+)\)")


def is_begun(where: str) -> bool:
    """Whether the index in a folder has a beginning. Raises OSError if the folder can't be read."""
    return _folder(where, ABOUT).is_dir()


def may_pass(error: BaseException) -> bool:
    """Whether the table may be intact: the system failed, by an I/O error or a lack of files or memory.

    LanceDB gives the system's errors as text. A missing file is damage.
    """
    if isinstance(error, MemoryError):
        return True
    number = _SYSTEM.search(str(error))
    code = error.errno if isinstance(error, OSError) else int(number[1]) if number else None
    return code not in (None, errno.ENOENT)


def set_aside(where: str, table: str, error: Exception) -> Path:
    """Move a table out of the index; return its new path, next to those that were moved before.

    Raises SettingError if the index is not in a folder, OSError if the disk accepts no change.
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
