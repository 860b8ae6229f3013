"""Limits a camera's segments to the pace of real time. Pure.

If a camera's timestamps run away or jump, or its parameter sets change with each frame, each frame becomes a segment:
hundreds of messages a second, and work for all of them.

    limit = SegmentRateLimit(segment_s=1.0, max_bytes=8_000_000)
    limit.admits(piece.size, time.monotonic())
"""

from __future__ import annotations

# Burst of segments: a network that was away for a minute or two delivers its backlog.
_BURST = 120.0
# A steady camera has one segment in each target length; with short GOPs, or clock corrections, somewhat more.
_PER_LENGTH = 4.0


class SegmentRateLimit:
    """segment_s: the length that segments aim at. max_bytes: of one of them."""

    def __init__(self, segment_s: float, max_bytes: int) -> None:
        self._per_second = _PER_LENGTH / segment_s
        self._max_bytes = max_bytes
        self._room = _BURST
        self._last: float | None = None

    def admits(self, size: int, now: float) -> bool:
        """Count a segment of `size` bytes. now: seconds, monotonic. False if too many have come."""
        if self._last is not None:
            self._room = min(_BURST, self._room + (now - self._last) * self._per_second)
        self._last = now
        # Segments cut by the byte limit are bounded by the camera's bit rate.
        if size * 2 < self._max_bytes:
            self._room -= 1
        return self._room >= 0
