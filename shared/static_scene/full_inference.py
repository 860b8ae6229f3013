"""When a full inference is due, on any replica. Pure.

A camera is analysed in full once per `every_s` of its own time, at a phase of its own. So a thousand cameras are not
analysed at the same time, and no replica needs to know what the others did.
"""

from __future__ import annotations

import hashlib
import math


def falls_in(camera: str, start: float, duration: float, every_s: float) -> bool:
    """Whether a full inference is due in a segment: each is in exactly one of a row. start: Unix seconds."""
    phase = int.from_bytes(hashlib.blake2b(camera.encode(), digest_size=8).digest()) / 2**64 * every_s
    return math.floor((start - phase) / every_s) != math.floor((start + duration - phase) / every_s)
