"""When a full look falls, whoever has the segment. Pure.

A camera is looked at in full once in every `every_s` of its own time, at a moment of its own: a thousand cameras are
not looked at all at once, and no replica needs to know what the others did.
"""

from __future__ import annotations

import hashlib
import math


def falls_in(camera: str, start: float, duration: float, every_s: float) -> bool:
    """Whether a segment holds a moment of a full look: each is in one of a row of segments. start: Unix seconds."""
    phase = int.from_bytes(hashlib.blake2b(camera.encode(), digest_size=8).digest()) / 2**64 * every_s
    return math.floor((start - phase) / every_s) != math.floor((start + duration - phase) / every_s)
