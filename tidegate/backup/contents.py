"""The contents of a backup's file, read and checked as a whole before anything is changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from shared.contract import names
from shared.contract.cameras import Camera
from shared.contract.topology import ENTRIES_BYTES
from shared.recordings.stores import keys
from shared.runtime.errors import SettingError
from tidegate.backup import entries, scope
from tidegate.backup.format import Reader
from tidegate.backup.records import BadBackup, Entry, Header, Note, Piece, Position, part_of

OPTION = "--key"
Tell = Callable[[str], None]


class Contents(msgspec.Struct, frozen=True, kw_only=True):
    """counts: of each part. cameras: by id; None for an entry that is no camera. files_bytes: of all files.

    notes: what people must know.
    """

    header: Header
    counts: dict[str, int]
    cameras: dict[str, Camera | None]
    positions: list[Position]
    notes: list[str]
    files_bytes: int


@contextmanager
def opened(path: Path, key: Path | None) -> Iterator[Reader]:
    """Open a backup. key: the file with its key. Raises SettingError, which names the file."""

    def find(id: str) -> keys.Secret:
        if key is None:
            raise SettingError(f"{path} is encrypted with key {id}: give {OPTION}, the file with this key")
        keys.check_installed(OPTION)
        if (secret := keys.read(key, OPTION).find(bytes.fromhex(id))) is None:
            raise SettingError(f"{path} is encrypted with key {id}, which {key} does not have: give the file with it")
        return secret

    with path.open("rb") as file:
        try:
            yield Reader(file, find)
        except BadBackup as e:
            raise BadBackup(f"{path} can't be restored: {e}") from e


def check(path: Path, key: Path | None, tell: Tell) -> Contents:
    """Read all of a backup. Raises SettingError for a file that can't be restored."""
    counts: dict[str, int] = {}
    sizes: dict[str, int] = {}
    cameras: dict[str, Camera | None] = {}
    positions: list[Position] = []
    notes: list[str] = []
    with opened(path, key) as reader:
        for n, record in enumerate(reader.records()):
            if n % 1000 == 0:
                tell(f"checking {path}: {n} records")
            if part := part_of(record):
                counts[part] = counts.get(part, 0) + 1
                _check_part(part)
            if isinstance(record, Entry):
                size = sizes.get(record.bucket, 0) + len(record.key) + len(record.value)
                if size > ENTRIES_BYTES:
                    raise BadBackup(f"bucket {record.bucket} has more than a server takes")
                sizes[record.bucket] = size
                if record.bucket == names.CAMERAS:
                    cameras[record.key] = entries.camera_of(record.value)
            elif isinstance(record, Piece):
                sizes[""] = sizes.get("", 0) + len(record.data)
            elif isinstance(record, Position):
                positions = [*positions, record][: len(scope.STREAMS)]
            elif isinstance(record, Note):
                notes = [*notes, record.text][:100]
        return Contents(
            header=reader.header,
            counts=counts,
            cameras=cameras,
            positions=positions,
            notes=notes,
            files_bytes=sizes.get("", 0),
        )


def _check_part(part: str) -> None:
    """Raise BadBackup for a bucket or a stream that no backup has."""
    kind, _, name = part.partition(" ")
    table = {"bucket": scope.BUCKETS, "stream": scope.STREAMS}.get(kind)
    if table is not None and (name not in table or table[name].when == "never"):
        raise BadBackup(f"it has {part}, which no backup has")
