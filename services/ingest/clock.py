"""A camera's timestamps on the wall clock. Pure: arrival times come from outside.

A frame can't arrive before it was captured, but it can arrive late: bursts at connect, jitter, stalls. So the least
of (arrival - timestamp) over a window is the best estimate of the camera's clock against ours.

    clock = WallClock()
    clock.observe(timestamp, time.time())      # every packet
    clock.wall(timestamp)                      # seconds since the Unix epoch
"""

from __future__ import annotations

# Long enough to hold an undelayed packet on a busy network, short enough that drift stays below the tolerance.
WINDOW_S = 10.0
# Above the noise of the window's minimum, below what evidence needs. Clocks drift by 100 ppm: one step in 17 minutes.
TOLERANCE_S = 0.1
# Servers send their last GOP in one burst at connect: its frames arrive late by up to its length, the last of it not.
SETTLE_S = 0.5
# A packet this much earlier than its timestamp allows, against the one before it, is a clock that was set.
JUMP_S = 1.0


class WallClock:
    """`reanchors` counts the corrections after the clock has settled."""

    def __init__(self) -> None:
        self.reanchors = 0
        self._anchor: float | None = None
        self._first = self._window = self._least = self._last = 0.0

    def observe(self, timestamp: float, arrival: float) -> bool:
        """Learn from a packet; both in seconds, arrival since the Unix epoch.

        True if the camera's clock (or ours) has just jumped: timestamps before and after do not belong together.
        """
        offset = arrival - timestamp
        if self._anchor is None:
            self._restart(arrival, offset)
            return False
        sudden = offset < self._last - JUMP_S
        self._last = offset
        if sudden and offset < self._anchor - JUMP_S and self.settled(arrival):
            self._restart(arrival, offset)
            self.reanchors += 1
            return True
        self._least = min(self._least, offset)
        if not self.settled(arrival):
            self._anchor = self._least
        elif offset < self._anchor - TOLERANCE_S:
            self._move(offset)
        if not 0 <= arrival - self._window < WINDOW_S:
            if self._least > self._anchor + TOLERANCE_S:
                self._move(self._least)
            self._window, self._least = arrival, offset
        return False

    def settled(self, arrival: float) -> bool:
        """Whether `wall` can be trusted: a burst at connect is over."""
        return not 0 <= arrival - self._first < SETTLE_S

    def wall(self, timestamp: float) -> float:
        """Seconds since the Unix epoch at which the frame of `timestamp` was captured, as far as can be told."""
        assert self._anchor is not None
        return timestamp + self._anchor

    def _move(self, anchor: float) -> None:
        self._anchor = anchor
        self.reanchors += 1

    def _restart(self, arrival: float, offset: float) -> None:
        self._anchor = self._least = self._last = offset
        self._first = self._window = arrival


class FixedClock:
    """For files that are read faster than they play: the file's end is now, and nothing is learnt from arrivals."""

    reanchors = 0

    def __init__(self, anchor: float) -> None:
        self._anchor = anchor

    def observe(self, timestamp: float, arrival: float) -> bool:
        return False

    def settled(self, arrival: float) -> bool:
        return True

    def wall(self, timestamp: float) -> float:
        return timestamp + self._anchor
