"""Finds the sequence parameter set (SPS) in a keyframe: if it changes, so does the resolution or profile. Pure."""

from __future__ import annotations

import re

_START = re.compile(rb"\x00\x00\x01")
# Parameter sets are within this many first bytes of an access unit: at most a delimiter comes before them.
_HEAD = 2048


def sequence_parameters(codec: str, data: bytes | memoryview) -> bytes | None:
    """Return the first SPS in `data` of `codec` ("h264" or "hevc"), without its start code; None if there is none.

    data: in the byte stream format (Annex B). Data with lengths instead of start codes, as in MP4, has no SPS in band.
    """
    head = bytes(data[:_HEAD])
    found = list(_START.finditer(head))
    ends = [*(m.start() for m in found[1:]), len(head)]
    for start, end in zip(found, ends, strict=False):
        unit = head[start.end() : end].rstrip(b"\x00")
        if unit and _is_sps(codec, unit[0]):
            return unit
    return None


def _is_sps(codec: str, first: int) -> bool:
    # H.264 7.3.1: nal_unit_type is the low five bits; H.265 7.3.1.2: six bits after the first.
    return first & 0x1F == 7 if codec == "h264" else first >> 1 & 0x3F == 33
