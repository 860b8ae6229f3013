"""Files of a data directory: into a backup, and from there into a folder next to their places.

The index of `find` is copied while search writes it. A version of a table is its manifest and the files that this
names, none of which ever changes: the newest manifest is read first, and must still be there at the end. The table that
names the consumer of the rows stays out, so that search goes on with a new server's consumer instead of building the
index again.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from stat import S_ISREG
from typing import BinaryIO

from services.search.lost import ABOUT
from shared.runtime.errors import SettingError
from tidegate.backup import scope
from tidegate.backup.format import Writer
from tidegate.backup.records import PATH, Piece

PIECE = 512 * 1024
# Tidying a table during its copy may remove files of the copy.
TRIES = 5
STAGE = "restoring"
_TABLE = ".lance"
_VERSIONS = "_versions"
# Names of newer tables count down from the largest integer, with leading zeros.
_COUNTED_DOWN = 20

Tell = Callable[[str], None]


def take(writer: Writer, data: Path, *, passwords: bool, tell: Tell) -> None:
    """Add the files of a data directory. Raises OSError."""
    for path in sorted((data / scope.SECRETS).glob("*")):
        if scope.has_secret(path.name, passwords=passwords):
            _add(writer, data, path)
    for path in sorted((data / scope.MODELS).glob("*")):
        _add(writer, data, path)
    for table in sorted((data / scope.INDEX).glob(f"*{_TABLE}")):
        if table.stem != ABOUT:
            tell(f"index of find: {table.stem}")
            _take_table(writer, data, table)


def _take_table(writer: Writer, data: Path, table: Path) -> None:
    mark = writer.mark()
    for _ in range(TRIES):
        try:
            if (newest := _newest(table / _VERSIONS)) is None:
                return
            _add(writer, data, newest, must=True)
            for path in _files(table):
                if path.parent.name != _VERSIONS:
                    _add(writer, data, path, must=True)
            if newest.exists():
                return
        except FileNotFoundError:
            pass
        writer.rewind(mark)
    if table.exists():
        writer.note(f"table {table.stem} of the index changed all the time, and is not in the backup")


def _newest(versions: Path) -> Path | None:
    """Return the newest manifest of a table, None if it has none."""
    found = sorted(path for path in versions.glob("*.manifest") if path.stem.isdecimal())
    down = [path for path in found if len(path.stem) == _COUNTED_DOWN]
    return down[0] if down else max(found, key=lambda path: int(path.stem), default=None)


def _files(folder: Path) -> Iterator[Path]:
    for where, folders, files in os.walk(folder):
        folders.sort()
        yield from (Path(where, name) for name in sorted(files))


def _add(writer: Writer, data: Path, path: Path, *, must: bool = False) -> None:
    """Add a plain file, in pieces; leave out any other. must: raise FileNotFoundError if it is gone."""
    name = path.relative_to(data).as_posix()
    if not re.search(PATH, name):
        return writer.note(f"{name!r:.200} has a name that no backup takes")
    if path.is_symlink():
        return writer.note(f"{name} is a link, which no backup takes")
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            if S_ISREG(os.fstat(file.fileno()).st_mode):
                _add_pieces(writer, name, file)
    except FileNotFoundError:
        if must:
            raise
    except OSError as e:
        if must or path.is_file():
            raise SettingError(f"{path} can't be read ({e.strerror}): run this as the user of 'tidegate up'") from e


def _add_pieces(writer: Writer, name: str, file: BinaryIO) -> None:
    first, data = True, file.read(PIECE)
    while True:
        following = file.read(PIECE) if len(data) == PIECE else b""
        writer.add(Piece(path=name, data=data, first=first, last=not following))
        if not following:
            return
        first, data = False, following


class Stage:
    """A folder in the data directory that gets a backup's files, before all of them move to their places.

    folder: the stage itself; one that was left behind is removed first. Raises OSError.
    """

    def __init__(self, data: Path) -> None:
        self._data = data
        self.folder = data / STAGE
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(mode=0o700)
        self._file: BinaryIO | None = None

    def add(self, piece: Piece) -> None:
        """Write the next bytes of a file. Raises SettingError for a piece of no file."""
        path = self.folder / piece.path
        if piece.first:
            self.close()
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                self._file = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
            except OSError as e:
                raise SettingError(f"the backup has {piece.path} twice, or as a file and a folder") from e
        if self._file is None:
            raise SettingError(f"the backup has no beginning of {piece.path}")
        self._file.write(piece.data)
        if piece.last:
            os.fsync(self._file.fileno())
            self.close()

    def close(self) -> None:
        if self._file:
            self._file.close()
            self._file = None

    def discard(self) -> None:
        """Remove the stage, and leave all places as they are."""
        self.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def place(self) -> dict[str, int]:
        """Move the files to their places, replacing those there; return their number by folder."""
        counts = {}
        for folder in (scope.SECRETS, scope.MODELS):
            files = sorted(path for path in (self.folder / folder).glob("*") if path.is_file())
            (self._data / folder).mkdir(mode=0o700, exist_ok=True)
            for path in files:
                path.replace(self._data / folder / path.name)
            counts[folder] = len(files)
        index = self.folder / scope.INDEX
        if index.is_dir():
            counts[scope.INDEX] = sum(1 for _ in _files(index))
            if (self._data / scope.INDEX).exists():
                (self._data / scope.INDEX).rename(self.folder / "former index")
            index.rename(self._data / scope.INDEX)
        os.sync()
        shutil.rmtree(self.folder)
        return counts
