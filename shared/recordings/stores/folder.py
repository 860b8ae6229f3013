"""Recordings in a folder of a disk, or of a mounted share.

A file is written under a temporary name next to its place, synced, and then renamed: after a loss of power it is there
as a whole, or not at all. An unfinished file keeps its temporary name, which no index has, and is removed as unindexed.
"""

from __future__ import annotations

import asyncio
import errno
import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from stat import S_ISREG
from typing import TypeVar

from shared.recordings.store import Bytes, Missing, StoredObject, StoreUnavailable

THREADS = 4
_PART = ".part"
# Buffers in one system call.
_AT_ONCE = min(os.sysconf("SC_IOV_MAX"), 1024)

T = TypeVar("T")


class Folder:
    """See the module, and `shared.recordings.store.Store`. free: the share of the disk that stays free for others."""

    def __init__(self, path: Path, free: float = 0.0) -> None:
        self._path = path
        self._free = free
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="recordings")

    async def put(self, key: str, parts: Sequence[Bytes]) -> None:
        await self._in_thread(lambda: self._put(self._place(key), parts))

    async def read(self, key: str, begin: int = 0, end: int | None = None) -> bytes:
        return await self._in_thread(lambda: self._read(key, begin, end))

    async def copy(self, key: str, to: str) -> None:
        await self.put(to, [await self.read(key)])

    async def remove(self, keys: Iterable[str]) -> None:
        places = [self._place(key) for key in keys]
        await self._in_thread(lambda: self._remove(places))

    async def list_objects(self, prefix: str) -> list[StoredObject]:
        return await self._in_thread(lambda: sorted(self._list(self._place(prefix))))

    async def lacks(self) -> int:
        return await self._in_thread(self._lacks)

    async def close(self) -> None:
        await asyncio.to_thread(self._threads.shutdown)

    def _place(self, key: str) -> Path:
        path = PurePosixPath(key)
        assert not path.is_absolute() and ".." not in path.parts, key
        return self._path / path

    async def _in_thread(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        except OSError as e:
            is_full = e.errno in (errno.ENOSPC, errno.EDQUOT)
            what = f"is full: {e.strerror}" if is_full else f"can't be used: {e.strerror}"
            raise StoreUnavailable(f"the folder of recordings {self._path} {what}") from e

    def _lacks(self) -> int:
        _make(self._path)
        usage = shutil.disk_usage(self._path)
        return max(0, int(self._free * usage.total) - usage.free)

    def _put(self, place: Path, parts: Sequence[Bytes]) -> None:
        if self._lacks():
            raise OSError(errno.ENOSPC, f"less than {self._free:.0%} of its disk is free")
        _make(place.parent)
        part = place.with_name(f"{place.name}.{secrets.token_hex(4)}{_PART}")
        try:
            file = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640)
            try:
                _write(file, parts)
                os.fsync(file)
            finally:
                os.close(file)
            part.rename(place)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        _sync(place.parent)

    def _read(self, key: str, begin: int, end: int | None) -> bytes:
        try:
            with self._place(key).open("rb", buffering=0) as file:
                file.seek(begin)
                return _exactly(file.fileno(), -1 if end is None else max(0, end - begin))
        except FileNotFoundError as e:
            raise Missing(f"{key} is not among the recordings") from e

    def _remove(self, places: list[Path]) -> None:
        for place in places:
            place.unlink(missing_ok=True)
        for folder in {place.parent for place in places}:
            _prune(folder, self._path)

    def _list(self, folder: Path) -> Iterator[StoredObject]:
        for inside, _, names in os.walk(folder, onerror=_raise_unless_missing):
            for path in (Path(inside, name) for name in names):
                try:
                    stat = path.stat()
                except FileNotFoundError:
                    continue
                if S_ISREG(stat.st_mode):
                    yield StoredObject(path.relative_to(self._path).as_posix(), stat.st_size, stat.st_mtime)


def _make(folder: Path) -> None:
    """Create missing folders, each of them synced."""
    if folder.is_dir():
        return
    _make(folder.parent)
    folder.mkdir(mode=0o750, exist_ok=True)
    _sync(folder.parent)


def _prune(folder: Path, top: Path) -> None:
    """Remove a folder that has become empty, and those above it, below `top`."""
    while folder != top:
        try:
            folder.rmdir()
        except FileNotFoundError:
            pass
        except OSError:
            break
        folder = folder.parent
    if folder.is_dir():
        _sync(folder)


def _raise_unless_missing(error: OSError) -> None:
    """Raise an error of listing a folder, unless it was removed meanwhile, or is not ours: lost+found."""
    if not isinstance(error, FileNotFoundError | NotADirectoryError | PermissionError):
        raise error


def _write(file: int, parts: Sequence[Bytes]) -> None:
    left = [memoryview(part).cast("B") for part in parts if len(part)]
    while left:
        written = os.writev(file, left[:_AT_ONCE])
        while left and written >= len(left[0]):
            written -= len(left.pop(0))
        if written:
            left[0] = left[0][written:]


def _exactly(file: int, size: int) -> bytes:
    """Read `size` bytes, fewer at the file's end; all if `size` is negative."""
    found: list[bytes] = []
    while size:
        part = os.read(file, 1 << 20 if size < 0 else min(size, 1 << 20))
        if not part:
            break
        found.append(part)
        size -= len(part) if size > 0 else 0
    return b"".join(found)


def _sync(folder: Path) -> None:
    """Sync a folder's entries to the disk."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
