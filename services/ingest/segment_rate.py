"""Says whether a camera's segments come no faster than time passes. Pure.

A camera whose timestamps run away or jump, or whose parameter sets change with each frame, would have each frame made a
segment of its own: hundreds of messages a second, and work for all of them.

    limit = SegmentRateLimit(segment_s=1.0, max_bytes=8_000_000)
    limit.keeps(piece.size, time.monotonic())
"""

from __future__ import annotations

# So many segments may come at once: a network that was away for a minute or two brings what it has held back.
_BURST = 120.0
# A steady camera has one in each length of a segment; with short GOPs, or a clock that is corrected, somewhat more.
_PER_LENGTH = 4.0


class SegmentRateLimit:
    """segment_s: the length that segments aim at. max_bytes: of one of them."""

    def __init__(self, segment_s: float, max_bytes: int) -> None:
        self._per_second = _PER_LENGTH / segment_s
        self._max_bytes = max_bytes
        self._room = _BURST
        self._last: float | None = None

    def keeps(self, size: int, now: float) -> bool:
        """Count a segment of so many bytes. now: seconds, monotonic. False where too many have come."""
        if self._last is not None:
            self._room = min(_BURST, self._room + (now - self._last) * self._per_second)
        self._last = now
        # One that is cut as it is full costs its bandwidth: there are as many as the camera's bit rate says.
        if size * 2 < self._max_bytes:
            self._room -= 1
        return self._room >= 0
