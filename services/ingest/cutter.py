"""Where a camera's packets become segments. Pure: sees a packet's time, size and whether it is a keyframe.

A segment starts at a keyframe and ends before the next one at or past the target. A GOP that is longer is cut inside
into dependent segments. No segment's packets are over the byte limit.
"""

from __future__ import annotations

import enum

# A GOP of exactly the target jitters around it: without this, every second segment would be twice as long.
EARLY = 0.1
# A GOP that ends within half a target is waited for: a cut would leave a sliver that costs a message and a moov.
# So the last piece of a GOP is at least half a target, and no segment is longer than one and a half.
LATE = 0.5
# Cameras drop to one frame in seconds at night; a longer silence in the timestamps is a clock that was set.
MAX_GAP_S = 30.0
# Reordering moves a frame back by a few frames; more is a clock that was set back.
MAX_BACK_S = 1.0


# Each piece of a GOP is decoded with all that is before it: past this, the rest waits for the next keyframe.
MAX_GOP_S = 60.0


class Cut(enum.Enum):
    """What a packet does."""

    APPEND = "joins the segment"
    KEY = "starts a segment at a keyframe"
    DEPENDENT = "starts a segment inside the GOP"
    SKIP = "is dropped: its GOP has no beginning"
    OVERSIZE = "is dropped, and the rest of its GOP: over the limit alone"
    ENDLESS = "is dropped, and the rest of its GOP: it has become too long"
    BREAK = "does not belong to what came before: start anew with it"


class Cutter:
    """Feed packets in decode order. target_s: seconds. max_bytes: the packets of one segment."""

    def __init__(self, target_s: float, max_bytes: int) -> None:
        self._target = target_s
        self._max_bytes = max_bytes
        self._open = self._dependent = False
        self._start = self._newest = self._last_key = 0.0
        self._gop: float | None = None
        self._bytes = 0

    def push(self, time: float, size: int, key: bool) -> Cut:
        """What the packet does; after BREAK, push it again. time: presentation, in seconds."""
        if self._open and not -MAX_BACK_S <= time - self._newest <= MAX_GAP_S:
            self._open = False
            self._gop = None
            return Cut.BREAK
        if key and self._open:
            self._gop = time - self._last_key
        if key:
            self._last_key = time
        cut = self._decide(time, size, key)
        if cut in (Cut.OVERSIZE, Cut.ENDLESS):
            self._open = False
        elif cut is Cut.APPEND:
            self._bytes += size
            self._newest = max(self._newest, time)
        elif cut is not Cut.SKIP:
            self._newest = max(self._newest, time) if self._open else time
            self._open = True
            self._dependent = cut is Cut.DEPENDENT
            self._start, self._bytes = time, size
        return cut

    def _decide(self, time: float, size: int, key: bool) -> Cut:
        if not self._open and not key:
            return Cut.SKIP
        if size > self._max_bytes:
            return Cut.OVERSIZE
        full = self._bytes + size > self._max_bytes
        length = time - self._start
        if key:
            # A GOP must not begin inside a segment that can't be decoded alone.
            whole = not self._open or self._dependent or full or length >= self._target * (1 - EARLY)
            return Cut.KEY if whole else Cut.APPEND
        if time - self._last_key > MAX_GOP_S:
            return Cut.ENDLESS
        # Frames shown before the newest belong to it: a cut between them would mix the segments' times.
        long = time > self._newest and length >= self._target and not self._keyframe_is_near(time, length)
        return Cut.DEPENDENT if full or long else Cut.APPEND

    def _keyframe_is_near(self, time: float, length: float) -> bool:
        wait = self._target * (1 + LATE) - length
        if self._gop is None:
            return time - self._last_key < self._target * (1 + LATE)
        due = self._last_key + self._gop - time
        # Late by a few frames is still due.
        return -EARLY * self._target <= due <= min(wait, LATE * self._target)
