"""When each sequence of a stream was stored. Pure.

The server announces each stored segment without its video, so its age is known without a fetch.

timestamps = StreamTimestamps()
timestamps.add(seq=1234, time=1796000000.0)
timestamps.time(1234)           # None if stored before the start, or not announced yet
"""

from __future__ import annotations

from array import array
from bisect import bisect_left

# One stamp is stored for each such interval: the resolution of an age.
EVERY_S = 0.25
# Half an hour at the busiest, 290 kB.
MOST = 14_400


class StreamTimestamps:
    """See the module. Sequences grow; a smaller one means a recreated stream, and clears all stamps."""

    def __init__(self, every_s: float = EVERY_S, most: int = MOST) -> None:
        self._every_s = every_s
        self._most = most
        self._seqs = array("Q")
        self._times = array("d")
        self._last = 0

    def add(self, seq: int, time: float) -> None:
        """Add a stored sequence. time: Unix seconds by the server's clock."""
        if seq == self._last:
            return
        if seq < self._last:
            del self._seqs[:], self._times[:]
        self._last = seq
        if len(self._times) > 1 and time - self._times[-2] < self._every_s:
            # Keep the newest: within an interval the last one replaces the others.
            self._seqs[-1], self._times[-1] = seq, time
            return
        self._seqs.append(seq)
        self._times.append(time)
        if len(self._seqs) > self._most * 5 // 4:
            del self._seqs[: -self._most], self._times[: -self._most]

    def time(self, seq: int) -> float | None:
        """Return when the first message from `seq` on was stored, at most `every_s` too late, never too early."""
        if not self._seqs or seq < self._seqs[0] or seq > self._last:
            return None
        return self._times[bisect_left(self._seqs, seq)]
