"""When a sequence of a stream was stored, by what was heard of it. Pure.

The server says of each segment that it is stored, without its video: so nobody has to fetch video to know how long it
waits.

stamps = Stamps()
stamps.heard(seq=1234, time=1796000000.0)
stamps.time(1234)           # None of what was stored before anybody listened, or is not heard of yet
"""

from __future__ import annotations

from array import array
from bisect import bisect_left

# Of what comes within this time one is remembered: an age is known to that.
EVERY_S = 0.25
# Half an hour at the busiest, 290 kB.
MOST = 14_400


class Stamps:
    """See the module. Sequences grow; where one does not, the stream was made anew, and what was known is forgotten."""

    def __init__(self, every_s: float = EVERY_S, most: int = MOST) -> None:
        self._every_s = every_s
        self._most = most
        self._seqs = array("Q")
        self._times = array("d")
        self._last = 0

    def heard(self, seq: int, time: float) -> None:
        """time: Unix seconds by the server's clock."""
        if seq == self._last:
            return
        if seq < self._last:
            del self._seqs[:], self._times[:]
        self._last = seq
        if len(self._times) > 1 and time - self._times[-2] < self._every_s:
            # The newest is always known: of those between, the last stands for all.
            self._seqs[-1], self._times[-1] = seq, time
            return
        self._seqs.append(seq)
        self._times.append(time)
        if len(self._seqs) > self._most * 5 // 4:
            del self._seqs[: -self._most], self._times[: -self._most]

    def time(self, seq: int) -> float | None:
        """When the first message at or after `seq` was stored, to `every_s`, and never before it was."""
        if not self._seqs or seq < self._seqs[0] or seq > self._last:
            return None
        return self._times[bisect_left(self._seqs, seq)]
