"""The content of a folder that a server writes meanwhile: files may disappear during the read."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


def below(folder: Path) -> Iterator[Path]:
    """All folders and files in it."""
    for place, folders, files in os.walk(folder):
        yield from (Path(place) / name for name in (*folders, *files))


def contents(folder: Path) -> Iterator[tuple[Path, bytes]]:
    """Each file with its content."""
    for path in below(folder):
        with contextlib.suppress(FileNotFoundError):
            if path.is_file():
                yield path, path.read_bytes()


def modes(folder: Path) -> dict[Path, int]:
    """The mode of each file, by its path in the folder."""
    found = {}
    for path in below(folder):
        with contextlib.suppress(FileNotFoundError):
            found[path.relative_to(folder)] = path.lstat().st_mode
    return found
