"""The file of a backup: a header, frames of records, a checksum. It reads and writes any binary file.

    writer = Writer(file, header, secret)       # secret: None writes a plain file
    writer.add(record)
    writer.end()
    for record in Reader(file, find_secret).records(): ...

The header is JSON and always plain. A frame is a list of records as compressed msgpack. Encrypted, each frame is a
sealed object of `shared.recordings.stores.sealing`, bound to the header and to its number: a frame that is changed, out
of place, or of another backup does not open. The last frame holds `End` alone, so a file that lacks its end is found.
The SHA-256 of all bytes comes last: it finds damage also in a plain file, but a plain file proves no origin.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, NamedTuple

import msgspec
from msgspec import Meta

from shared.contract.memory import MAX_PAYLOAD
from shared.recordings.records import Unreadable
from shared.recordings.stores import sealing
from shared.recordings.stores.sealing import HEAD, TAG, Head
from tidegate.backup.records import FORMAT, AnyRecord, BadBackup, End, Header, Note, part_of

if TYPE_CHECKING:
    from shared.recordings.stores.keys import Secret

# No text begins like this, and a transfer that changes line ends breaks it.
MAGIC = b"\x89TGBAK\r\n\x1a\n"
# Bytes of records that make a frame, and the maximum of a frame: one largest message, with its headers.
FRAME = 1 << 20
MOST = FRAME + 2 * MAX_PAYLOAD
MOST_HEADER = 64 * 1024
# Sealing, and compression of what can't be compressed, add less than this.
_MORE = HEAD + MOST // sealing.CHUNK * TAG + MOST // 100
_LENGTH = struct.Struct(">I")
_ENCODER = msgspec.msgpack.Encoder()
# A frame of the shortest records has fewer.
_RECORDS = msgspec.msgpack.Decoder(Annotated[list[AnyRecord], Meta(max_length=100_000)])
_RECORD = msgspec.msgpack.Decoder(AnyRecord)
_MOST_NOTES = 100
_CUT = "it is truncated: its end is missing, as after an interrupted copy"
_CHANGED = "it was changed or damaged after it was written"

# Returns the secret of an id, which is hexadecimal. Raises SettingError if there is none.
FindSecret = Callable[[str], "Secret"]


class Mark(NamedTuple):
    """A place to return to."""

    position: int
    digest: Any
    frames: int
    counts: dict[str, int]


class Writer:
    """See the module. file: at its start; seekable.

    counts: the number of each part. notes: texts of the notes that were added.
    """

    def __init__(self, file: BinaryIO, header: Header, secret: Secret | None) -> None:
        self._file = file
        self._secret = secret
        self._digest = hashlib.sha256()
        self._frames = 0
        self._waiting: list[AnyRecord] = []
        self._size = 0
        self.counts: dict[str, int] = {}
        self.notes: list[str] = []
        raw = msgspec.json.encode(header)
        self._bound = _binding(raw)
        self._write(MAGIC + _LENGTH.pack(len(raw)) + raw)

    def add(self, record: AnyRecord) -> None:
        """Add a record of at most one largest message. A note replaces one that a reader would refuse."""
        packed = _ENCODER.encode(record)
        try:
            _RECORD.decode(packed)
        except msgspec.ValidationError as e:
            return self.note(f"a part of {part_of(record) or 'the files'} is left out, as it does not fit: {e}")
        self._waiting.append(record)
        self._size += len(packed)
        if part := part_of(record):
            self.counts[part] = self.counts.get(part, 0) + 1
        if self._size >= FRAME:
            self._flush()

    def note(self, text: str) -> None:
        """Add a note, unless there are many."""
        if len(self.notes) < _MOST_NOTES:
            self.notes.append(text[:1000])
            self.add(Note(text=text[:1000]))

    def mark(self) -> Mark:
        """Return the present place."""
        self._flush()
        return Mark(self._file.tell(), self._digest.copy(), self._frames, dict(self.counts))

    def rewind(self, mark: Mark) -> None:
        """Forget the records added since."""
        self._waiting, self._size = [], 0
        self._file.seek(mark.position)
        self._file.truncate()
        self._digest, self._frames, self.counts = mark.digest.copy(), mark.frames, dict(mark.counts)

    def end(self) -> None:
        """Write the end of the file."""
        self._flush()
        self._waiting = [End(counts=self.counts)]
        self._flush()
        self._file.write(self._digest.digest())

    def _flush(self) -> None:
        if not self._waiting:
            return
        packed = zlib.compress(_ENCODER.encode(self._waiting), 1)
        self._waiting, self._size = [], 0
        if self._secret:
            packed = b"".join(sealing.seal(self._secret, f"{self._bound}{self._frames}", [packed]))
        self._write(_LENGTH.pack(len(packed)) + packed)
        self._frames += 1

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self._digest.update(data)


class Reader:
    """See the module. Raises BadBackup, also for a newer format; `header` is there after that.

    file: at its start. Uses the memory of one frame, whatever the file says about itself.
    """

    def __init__(self, file: BinaryIO, find_secret: FindSecret) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        if self._read(len(MAGIC), short="") != MAGIC:
            raise BadBackup("it is no backup of Tidegate, or was changed in transfer")
        raw = self._read(self._length(MOST_HEADER))
        self._bound = _binding(raw)
        self.header = _header(raw)
        self._secret = find_secret(self.header.key) if self.header.key else None

    def records(self) -> Iterator[AnyRecord]:
        """Yield the records before the end. Raises BadBackup, at the latest at the end of the file."""
        counts: dict[str, int] = {}
        number = 0
        while True:
            found = self._frame(number)
            number += 1
            for record in found:
                if isinstance(record, End):
                    if len(found) != 1 or record.counts != counts:
                        raise BadBackup(_CHANGED)
                    return self._check_end()
                if part := part_of(record):
                    counts[part] = counts.get(part, 0) + 1
                yield record

    def _frame(self, number: int) -> list[AnyRecord]:
        data = self._read(self._length(MOST + _MORE))
        if self._secret:
            data = _opened(self._secret, f"{self._bound}{number}", data)
        try:
            # Never more than the maximum, though a few bytes may stand for gigabytes.
            inflating = zlib.decompressobj()
            packed = inflating.decompress(data, MOST)
            if not inflating.eof or inflating.unused_data:
                raise BadBackup(_CHANGED)
            records: list[AnyRecord] = _RECORDS.decode(packed)
            return records
        except (zlib.error, msgspec.DecodeError, ValueError, RecursionError) as e:
            raise BadBackup(_CHANGED) from e

    def _check_end(self) -> None:
        digest = self._digest.digest()
        if self._read(len(digest)) != digest or self._file.read(1):
            raise BadBackup(_CHANGED)

    def _length(self, most: int) -> int:
        length: int = _LENGTH.unpack(self._read(_LENGTH.size))[0]
        if not 0 < length <= most:
            raise BadBackup(_CHANGED)
        return length

    def _read(self, size: int, short: str = _CUT) -> bytes:
        data = self._file.read(size)
        if len(data) < size and short:
            raise BadBackup(short)
        self._digest.update(data)
        return data


def _header(raw: bytes) -> Header:
    class Version(msgspec.Struct):
        format: int
        tidegate: str = "unknown"

    try:
        version = msgspec.json.decode(raw, type=Version)
        if version.format > FORMAT:
            raise BadBackup(
                f"its format is {version.format}, of Tidegate {version.tidegate[:100]}, and this version reads "
                f"{FORMAT}: install that version, or a later one"
            )
        return msgspec.json.decode(raw, type=Header)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        raise BadBackup(_CHANGED) from e


def _opened(secret: Secret, path: str, data: bytes) -> bytes:
    try:
        head = Head.read(data)
        if head is None or head.version != sealing.VERSION or head.whole != len(data):
            raise BadBackup(_CHANGED)
        sealing.check_head(secret, path, head)
        return sealing.open_chunks(secret, path, head, memoryview(data)[HEAD:], 0)
    except Unreadable as e:
        raise BadBackup(_CHANGED) from e


def _binding(header: bytes) -> str:
    """Return what binds frames to their header: the start of their paths."""
    return f"backup {hashlib.sha256(header).hexdigest()} "
