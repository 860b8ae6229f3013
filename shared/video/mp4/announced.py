"""The number of frames that an MP4 announces. libav makes a table of them: a few bytes may cost gigabytes. Pure.

A box may announce frames without bytes of their own: by a default size, or by a count next to one duration. So the
counts are read wherever libav might read them, which is anywhere but in `mdat`.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

# Boxes with counts of frames; `cmov` is a compressed header, which no camera's segment has.
_COUNTED = re.compile(rb"trun|stsz|stz2|stts|ctts|cmov")
# Offset of the count from the end of the box's name: after version and flags, and the sizes' own field.
_COUNT_AT = {b"trun": 4, b"stsz": 8, b"stz2": 8}
_RUNS = (b"stts", b"ctts")
# A size of 1: the real one, of 64 bits, comes between the name and the rest.
_LONG = b"\0\0\0\1"
ENDLESS = 2**63
_HEAD, _LARGE = struct.Struct(">I4s"), struct.Struct(">Q")


def frames(data: bytes) -> int:
    """Return the frames that all boxes of `data` announce together: at least those that libav would list."""
    return sum(_announced(data, found) for begin, end in _heads(data) for found in _COUNTED.finditer(data, begin, end))


def _heads(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield (begin, end) of every box but `mdat`; bytes after a box of impossible size count as one more."""
    at = 0
    while at + 8 <= len(data):
        size, kind = _HEAD.unpack_from(data, at)
        if size == 1 and at + 16 <= len(data):
            (size,) = _LARGE.unpack_from(data, at + 8)
        end = min(at + size, len(data)) if size >= 8 else len(data)
        if kind != b"mdat":
            yield at, end
        at = end


def _announced(data: bytes, found: re.Match[bytes]) -> int:
    """Return the count of one box. It is read even beyond the end of the enclosing box, as libav does."""
    name, at = found[0], found.end()
    if data[at - 8 : at - 4] == _LONG:
        at += _LARGE.size
    if name in _COUNT_AT:
        return _number(data, at + _COUNT_AT[name])
    if name in _RUNS:
        runs = range(at + 8, min(len(data), at + 8 + 8 * _number(data, at + 4)), 8)
        return sum(_number(data, run) for run in runs)
    return ENDLESS


def _number(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "big")
