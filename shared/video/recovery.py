"""Finds recovery points: where decoding may begin without a keyframe. Pure.

A camera with intra refresh (gradual decoder refresh, GDR) sends no keyframes. Each picture has an independent part, and
after some pictures the parts have covered the whole. A message of the encoder marks where such a round begins, and
after how many frames the pictures are correct: H.264 D.1.8, H.265 D.2.8. Some encoders of H.265 send none (x265). Their
pictures are not certainly correct after any number of frames, and libav's decoder shows none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from av.video.codeccontext import VideoCodecContext

_START = re.compile(rb"\x00\x00\x01")
# The messages before a picture are within its first bytes.
_HEAD = 2048
# Rounds are shorter than this many frames: frame numbers have 16 bits.
_MOST = 1 << 16
# Kinds of messages in SEI: H.264 D.1.1, H.265 D.2.1.
_RECOVERY_POINT = 6


class _Kinds(NamedTuple):
    """Kinds of NAL units, by their first byte: of any picture, of keyframes, and of SEI before a picture. head: bytes
    before a unit's content.
    """

    mask: int
    shift: int
    pictures: range
    keys: range
    sei: int
    head: int

    def of(self, unit: bytes) -> int:
        return unit[0] >> self.shift & self.mask


# H.264 table 7-1; H.265 table 7-1, where keyframes are IRAP pictures.
_KINDS = {
    "h264": _Kinds(31, 0, range(1, 6), range(5, 6), 6, 1),
    "hevc": _Kinds(63, 1, range(0, 32), range(16, 24), 39, 2),
}


def recovery_frames(codec: str, data: bytes | memoryview, length_size: int = 0) -> int | None:
    """Return after how many frames pictures are correct if decoding begins here; None if it is no recovery point.

    Keyframes are none, nor are pictures that are immediately correct. codec: "h264" or "hevc". data: a packet, whose
    units follow lengths of `length_size` bytes, or start codes if that is 0.
    """
    kinds = _KINDS[codec]
    found = None
    for unit in _units(bytes(data[:_HEAD]), length_size):
        kind = kinds.of(unit)
        if kind in kinds.pictures:
            return None if kind in kinds.keys or not found or not 0 < found <= _MOST else found
        if kind == kinds.sei:
            count = _count(unit[kinds.head :])
            found = found if count is None else _signed(count) if codec == "hevc" else count
    return None


def length_size(decoder: VideoCodecContext) -> int:
    """Return the bytes of the lengths before a decoder's NAL units (ISO/IEC 14496-15), 0 for start codes."""
    where, extradata = 4 if decoder.name == "h264" else 21, decoder.extradata or b""
    # A start code begins with 0, a configuration record with its version, 1.
    return (extradata[where] & 3) + 1 if len(extradata) > where and extradata[0] == 1 else 0


def _units(head: bytes, length_size: int) -> Iterator[bytes]:
    """Yield NAL units without their prefixes; the last may be cut."""
    if length_size:
        place = 0
        while place + length_size < len(head):
            end = place + length_size + int.from_bytes(head[place : place + length_size], "big")
            if unit := head[place + length_size : end]:
                yield unit
            place = max(end, place + 1)
        return
    starts = [(found.start(), found.end()) for found in _START.finditer(head)]
    for (_, begin), (end, _) in pairwise([*starts, (len(head), 0)]):
        if unit := head[begin:end]:
            yield unit


def _count(messages: bytes) -> int | None:
    """Return the first number of the recovery point among the messages in a unit; None if there is none.

    It is recovery_frame_cnt of H.264, and recovery_poc_cnt of H.265, which is signed.
    """
    data = messages.replace(b"\x00\x00\x03", b"\x00\x00")
    place = 0
    while place + 2 < len(data):
        kind, place = _sum(data, place)
        size, place = _sum(data, place)
        if kind == _RECOVERY_POINT:
            return _golomb(data[place : place + size])
        place += size
    return None


def _sum(data: bytes, place: int) -> tuple[int, int]:
    """Return a number coded as 255s and a last byte, and its end."""
    total = 0
    while place < len(data) and data[place] == 255:
        total, place = total + 255, place + 1
    return total + (data[place] if place < len(data) else 0), place + 1


def _signed(code: int) -> int:
    """Return the signed number of an unsigned one: H.265 9.2.2."""
    return (code + 1) // 2 if code % 2 else -(code // 2)


def _golomb(data: bytes) -> int | None:
    """Return the unsigned Exp-Golomb number at the beginning of `data`: H.264 9.1."""
    bits = "".join(f"{byte:08b}" for byte in data[:9])
    zeros = len(bits) - len(bits.lstrip("0"))
    code = bits[zeros : 2 * zeros + 1]
    return int(code, 2) - 1 if len(code) > zeros else None
