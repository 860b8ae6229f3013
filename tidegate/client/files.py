"""Files that are complete or absent."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from shared.runtime.errors import SettingError


@contextlib.contextmanager
def written(path: Path, option: str = "--save") -> Iterator[Path]:
    """Yield a temporary path, which becomes `path` if the block succeeds, and is removed otherwise.

    It is in a new folder next to `path`, so that no other user of a shared folder can plant a link there. An existing
    non-file, such as /dev/stdout, is written directly. Raises SettingError, which names the option, for an OSError in
    the block; a TimeoutError, which is one, is a server's, and passes.
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
    """Return the folder, created if missing. Raises SettingError."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise SettingError(f"{option} {path} can't be written ({e.strerror}): choose another folder") from e
    return path


def _why(error: OSError, path: Path) -> str:
    if not path.parent.is_dir():
        return f"there is no folder {path.parent}: create it, or choose another"
    return f"{(error.strerror or str(error)).lower()}: choose another place"
