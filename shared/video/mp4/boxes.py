"""Boxes of an MP4 (ISO/IEC 14496-12): read in place, and written. Pure.

    for found in children(data, 0, len(data)):
        found.kind, found.begin, found.end          # b"moov", and the offsets of its content

Every length is checked against the data, and the boxes in one place are bounded by what a segment can have: data from a
camera is untrusted.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from shared.runtime.errors import BadSegment

# A segment of ten seconds with one fragment per frame has fewer.
MOST_BOXES = 20_000
_HEAD, _LARGE = struct.Struct(">I4s"), struct.Struct(">Q")
_U8, _U16, _U32, _U64, _S32 = (struct.Struct(f">{kind}") for kind in "BHIQi")


class Box(NamedTuple):
    """start: of its head; begin and end: of its content, all as offsets in the data."""

    kind: bytes
    start: int
    begin: int
    end: int


def children(data: bytes, begin: int, end: int) -> Iterator[Box]:
    """Yield the boxes in data[begin:end]. Raises BadSegment if one is longer than the rest."""
    at, count = begin, 0
    while at < end:
        if at + _HEAD.size > end:
            raise BadSegment("its MP4 breaks off inside a box")
        size, kind = _HEAD.unpack_from(data, at)
        head = _HEAD.size
        if size == 1 and at + head + _LARGE.size <= end:
            (size,), head = _LARGE.unpack_from(data, at + head), head + _LARGE.size
        if not head <= size <= end - at:
            raise BadSegment(f"its MP4 has a box {_name(kind)} of {size} bytes, where {end - at} are left")
        count += 1
        if count > MOST_BOXES:
            raise BadSegment(f"its MP4 has over {MOST_BOXES} boxes in one place")
        yield Box(kind, at, at + head, at + size)
        at += size


def only(data: bytes, parent: Box, kind: bytes) -> Box:
    """Return the one child of a kind. Raises BadSegment if there is none, or several."""
    found = [box for box in children(data, parent.begin, parent.end) if box.kind == kind]
    if len(found) != 1:
        raise BadSegment(f"its MP4 has {len(found)} boxes {_name(kind)} in {_name(parent.kind)}, where one is expected")
    return found[0]


class Fields:
    """Reads the fields of a box in order. Raises BadSegment if the box is too short for one."""

    def __init__(self, data: bytes, box: Box) -> None:
        self._data, self._box, self.at = data, box, box.begin

    @property
    def left(self) -> int:
        return self._box.end - self.at

    def u8(self) -> int:
        return self._number(_U8)

    def u16(self) -> int:
        return self._number(_U16)

    def u32(self) -> int:
        return self._number(_U32)

    def u64(self) -> int:
        return self._number(_U64)

    def s32(self) -> int:
        return self._number(_S32)

    def version(self) -> tuple[int, int]:
        """Read (version, flags), with which most boxes begin."""
        word = self.u32()
        return word >> 24, word & 0xFFFFFF

    def take(self, size: int) -> bytes:
        at = self._step(size)
        return bytes(self._data[at : at + size])

    def skip(self, size: int) -> None:
        self._step(size)

    def _number(self, kind: struct.Struct) -> int:
        value: int = kind.unpack_from(self._data, self._step(kind.size))[0]
        return value

    def _step(self, size: int) -> int:
        if size > self.left:
            raise BadSegment(f"its MP4 has a box {_name(self._box.kind)} that is too short for what it should say")
        self.at += size
        return self.at - size


def box(kind: bytes, *content: bytes) -> bytes:
    """Return a box of that content."""
    return _HEAD.pack(_HEAD.size + sum(map(len, content)), kind) + b"".join(content)


def full(kind: bytes, version: int, flags: int, *content: bytes) -> bytes:
    """Return a box that begins with a version and flags."""
    return box(kind, _U32.pack(version << 24 | flags), *content)


def _name(kind: bytes) -> str:
    return repr(kind.decode("latin-1"))
