"""The codec of an MP4, in browsers' syntax: `avc1.64001f`, `hvc1.1.6.L93.B0`. Pure.

An `avcC` or `hvcC` (ISO/IEC 14496-15, 5.3.3 and 8.3.3) holds a decoder's configuration.
"""

from __future__ import annotations

from typing import NamedTuple

from shared.runtime.errors import BadSegment

# A configuration record has a few hundred bytes; x265 also writes its options into it, some thousand.
MOST_BYTES = 64 * 1024
# H.265 table 7-1: VPS, SPS and PPS.
_SETS = (32, 33, 34)
_COMPLETE = 0x80
_HEAD = 23


class Configuration(NamedTuple):
    """entry: the sample entry's kind, which locates the parameter sets: in front for `avc1` and `hvc1`, in the video
    for `avc3` and `hev1`. codec: for MSE. record: the content of `avcC` or `hvcC`. decisive: the part of it that
    configures a decoder.
    """

    entry: bytes
    codec: str
    box: bytes
    record: bytes
    decisive: bytes


def of_avc(record: bytes) -> Configuration:
    """Parse an `avcC`. Raises BadSegment."""
    if len(record) < 7 or record[0] != 1:
        raise BadSegment("its avcC can't be read")
    entry = b"avc1" if record[5] & 31 else b"avc3"
    return Configuration(entry, f"{entry.decode()}.{record[1:4].hex()}", b"avcC", record, record)


def of_hevc(record: bytes) -> Configuration:
    """Parse an `hvcC`. With all parameter sets in front it is for `hvc1`, the only kind that Apple's players accept.

    Raises BadSegment.
    """
    if len(record) < _HEAD or record[0] != 1:
        raise BadSegment("its hvcC can't be read")
    arrays = _arrays(record)
    sets = [(kind, units) for kind, units in arrays if kind in _SETS]
    in_front = {kind for kind, _ in sets} == set(_SETS)
    entry = b"hvc1" if in_front else b"hev1"
    marked = [
        bytes([kind | (_COMPLETE if in_front and kind in _SETS else 0)]) + units
        for kind, units in sorted(arrays, key=lambda array: array[0])
    ]
    written = record[: _HEAD - 1] + bytes([len(marked)]) + b"".join(marked)
    decisive = record[: _HEAD - 1] + b"".join(bytes([kind]) + units for kind, units in sorted(sets))
    return Configuration(entry, f"{entry.decode()}.{_profile(record)}", b"hvcC", written, decisive)


def _profile(record: bytes) -> str:
    """ISO/IEC 14496-15, annex E.3."""
    space, tier, profile = record[1] >> 6, record[1] >> 5 & 1, record[1] & 31
    compatible = int(f"{int.from_bytes(record[2:6], 'big'):032b}"[::-1], 2)
    constraints = record[6:12].rstrip(b"\0")
    parts = [f"{' ABC'[space].strip()}{profile}", f"{compatible:X}", f"{'LH'[tier]}{record[12]}"]
    return ".".join([*parts, *(f"{byte:X}" for byte in constraints)])


def _arrays(record: bytes) -> list[tuple[int, bytes]]:
    """Return (kind of its units, the rest of the array unchanged) for every array of an `hvcC`."""
    found, at = [], _HEAD
    for _ in range(record[_HEAD - 1]):
        if at + 3 > len(record):
            raise BadSegment("its hvcC breaks off")
        begin = at + 1
        count, at = int.from_bytes(record[begin : at + 3], "big"), at + 3
        for _ in range(count):
            at += 2 + int.from_bytes(record[at : at + 2], "big")
            if at > len(record):
                raise BadSegment("its hvcC breaks off")
        found.append((record[begin - 1] & 63, record[begin:at]))
    return found
