"""A file lock that one process holds at a time: two writers in one folder would corrupt each other's data."""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import IO

from shared.runtime.errors import SettingError


def acquire(path: Path, taken: str) -> IO[str]:
    """Lock the file until it is closed. A missing folder is created for its owner alone.

    Raises SettingError(taken) if another process holds it, and OSError if it can't be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = path.open("a")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as e:
        lock.close()
        raise SettingError(taken) from e
    return lock
