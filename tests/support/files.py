"""What is in a folder that a server writes in meanwhile: some of it may go while we look."""

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
    """Each file with what it holds."""
    for path in below(folder):
        with contextlib.suppress(FileNotFoundError):
            if path.is_file():
                yield path, path.read_bytes()


def modes(folder: Path) -> dict[Path, int]:
    """Who may do what with each, by its path from the folder on."""
    found = {}
    for path in below(folder):
        with contextlib.suppress(FileNotFoundError):
            found[path.relative_to(folder)] = path.lstat().st_mode
    return found
