"""Files that are whole or not there."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from shared.runtime.errors import SettingError


@contextlib.contextmanager
def written(path: Path, option: str = "--save") -> Iterator[Path]:
    """A name to write to, which becomes `path` where the block ends well, and is removed otherwise.

    It is in a folder of its own beside `path`, so that in one that others write in nobody has a link waiting there.
    What is there and no file, such as /dev/stdout, is written itself. Raises SettingError, which names the option,
    where an OSError leaves the block; a TimeoutError, which is one, is of a server that does not answer, and stays.
    """
    try:
        if path.exists() and not path.is_file():
            yield path
            return
        with tempfile.TemporaryDirectory(prefix=f".{path.stem[:32]}.", dir=path.parent) as own:
            part = Path(own) / path.name
            yield part
            part.replace(path)
    except TimeoutError:
        raise
    except OSError as e:
        raise SettingError(f"{option} {path} can't be written: {_why(e, path)}") from e


def folder(path: Path, option: str = "--save") -> Path:
    """The folder, made where it is not there. Raises SettingError."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise SettingError(f"{option} {path} can't be written ({e.strerror}): choose another folder") from e
    return path


def _why(error: OSError, path: Path) -> str:
    if not path.parent.is_dir():
        return f"there is no folder {path.parent}: create it, or choose another"
    return f"{(error.strerror or str(error)).lower()}: choose another place"
