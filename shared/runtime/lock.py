"""A file that one process holds at a time: what two would write in one folder, they would spoil for each other."""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import IO

from shared.runtime.errors import SettingError


def hold(path: Path, taken: str) -> IO[str]:
    """Lock the file until it is closed. Its folder is made for its owner alone where it is not there.

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
