"""Finds recovery points: where decoding may begin although no keyframe is there. Pure.

A camera with intra refresh (gradual decoder refresh, GDR) sends no keyframes: each picture has a part that needs no
other, and after some pictures the parts have covered the whole. Its encoder says where such a round begins, and after
how many frames the pictures are right, in a message of its own: H.264 D.1.8.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from av.video.codeccontext import VideoCodecContext

_START = re.compile(rb"\x00\x00\x01")
# The messages before a picture are within its first bytes.
_HEAD = 2048
# Rounds are shorter than this many frames: frame numbers have 16 bits.
_MOST = 1 << 16
# Kinds of NAL units, and of messages in SEI: H.264 table 7-1, D.1.1.
_KEY, _SEI, _RECOVERY_POINT = 5, 6, 6


def recovery_frames(codec: str, data: bytes | memoryview, length_size: int = 0) -> int | None:
    """After how many frames pictures are right, where decoding begins with this one; None if it is no recovery point.

    Keyframes are none, nor are pictures that are right at once. codec: "h264" or "hevc"; of H.265 none is found, as
    its encoders do not all say where rounds begin. data: a packet, whose units follow lengths of `length_size` bytes,
    or start codes where that is 0.
    """
    found = None
    for unit in _units(bytes(data[:_HEAD]), length_size) if codec == "h264" else ():
        kind = unit[0] & 0x1F
        if 1 <= kind <= _KEY:
            return None if kind == _KEY or not found or found > _MOST else found
        if kind == _SEI:
            found = _count(unit[1:]) or found
    return None


def length_size(decoder: VideoCodecContext) -> int:
    """Bytes of the lengths before a decoder's NAL units (ISO/IEC 14496-15), 0 where start codes stand instead."""
    where, extradata = 4 if decoder.name == "h264" else 21, decoder.extradata or b""
    # A start code begins with 0, a configuration record with its version, 1.
    return (extradata[where] & 3) + 1 if len(extradata) > where and extradata[0] == 1 else 0


def _units(head: bytes, length_size: int) -> Iterator[bytes]:
    """NAL units without what stands before them; the last may be cut."""
    if length_size:
        place = 0
        while place + length_size < len(head):
            end = place + length_size + int.from_bytes(head[place : place + length_size], "big")
            if unit := head[place + length_size : end]:
                yield unit
            place = max(end, place + 1)
        return
    starts = list(_START.finditer(head))
    for start, following in zip(starts, [*starts[1:], None], strict=True):
        if unit := head[start.end() : following.start() if following else len(head)]:
            yield unit


def _count(messages: bytes) -> int | None:
    """recovery_frame_cnt of the messages in a unit; None if none of them says it."""
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
    """A number of 255s and a last byte, and where it ends."""
    total = 0
    while place < len(data) and data[place] == 255:
        total, place = total + 255, place + 1
    return total + (data[place] if place < len(data) else 0), place + 1


def _golomb(data: bytes) -> int | None:
    """An unsigned Exp-Golomb number at the beginning of `data`: H.264 9.1."""
    bits = "".join(f"{byte:08b}" for byte in data[:9])
    zeros = len(bits) - len(bits.lstrip("0"))
    code = bits[zeros : 2 * zeros + 1]
    return int(code, 2) - 1 if len(code) > zeros else None
