"""Puts a camera's timestamps on the wall clock. Pure: arrival times are given.

A frame can't arrive before it was captured, but it may arrive late: after a burst at connect, jitter or a stall. So the
minimum of (arrival - timestamp) over a window is the best estimate of the camera's clock against ours.

    clock = WallClock()
    clock.observe(timestamp, time.time())      # every packet
    clock.wall(timestamp)                      # seconds since the Unix epoch
"""

from __future__ import annotations

from typing import TypeAlias

# Window of the minimum offset: a busy network lets one packet through undelayed in it, and clocks drift less than the
# tolerance.
WINDOW_S = 10.0
# An estimate is corrected once it is wrong by this much: the minimum offset has some noise, and evidence need not be
# more exact. Clocks that drift by 100 ppm are corrected once in 17 minutes.
TOLERANCE_S = 0.1
# An estimate is trusted after this long: servers send their last GOP in one burst at connect, all of it late but its
# end.
SETTLE_S = 0.5
# A clock was set if a packet comes this much earlier, relative to the one before it, than its timestamp allows.
JUMP_S = 1.0


class WallClock:
    """A live camera's clock. `reanchors` counts the corrections after the clock has settled."""

    def __init__(self) -> None:
        self.reanchors = 0
        self._anchor: float | None = None
        self._first = self._window = self._least = self._last = 0.0

    def observe(self, timestamp: float, arrival: float) -> bool:
        """Learn from a packet. timestamp: seconds. arrival: seconds since the Unix epoch.

        True if the camera's clock or ours has just jumped: timestamps before and after do not belong together.
        """
        offset = arrival - timestamp
        if self._anchor is None:
            self._restart(arrival, offset)
            return False
        sudden = offset < self._last - JUMP_S
        self._last = offset
        if sudden and offset < self._anchor - JUMP_S and self.is_settled(arrival):
            self._restart(arrival, offset)
            self.reanchors += 1
            return True
        self._least = min(self._least, offset)
        if not self.is_settled(arrival):
            self._anchor = self._least
        elif offset < self._anchor - TOLERANCE_S:
            self._move(offset)
        if not 0 <= arrival - self._window < WINDOW_S:
            if self._least > self._anchor + TOLERANCE_S:
                self._move(self._least)
            self._window, self._least = arrival, offset
        return False

    def is_settled(self, arrival: float) -> bool:
        """Whether `wall` can be trusted: the burst at connect is over."""
        return not 0 <= arrival - self._first < SETTLE_S

    def wall(self, timestamp: float) -> float:
        """Return the estimated capture time of the frame of `timestamp`, in seconds since the Unix epoch."""
        assert self._anchor is not None
        return timestamp + self._anchor

    def _move(self, anchor: float) -> None:
        self._anchor = anchor
        self.reanchors += 1

    def _restart(self, arrival: float, offset: float) -> None:
        self._anchor = self._least = self._last = offset
        self._first = self._window = arrival


class FixedClock:
    """The clock of a file that is read faster than it plays: its end is now, and arrivals teach nothing."""

    reanchors = 0

    def __init__(self, anchor: float) -> None:
        self._anchor = anchor

    def observe(self, timestamp: float, arrival: float) -> bool:
        return False

    def is_settled(self, arrival: float) -> bool:
        return True

    def wall(self, timestamp: float) -> float:
        return timestamp + self._anchor


Clock: TypeAlias = WallClock | FixedClock
