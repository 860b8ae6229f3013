"""Decides where a camera's packets are cut into segments. Pure: it sees times, sizes and keyframes.

A segment starts at a keyframe and ends before the first keyframe at or past the target length. A longer GOP is cut
inside, into dependent segments. The packets of a segment are never larger than the byte limit.
"""

from __future__ import annotations

import enum

# Shares are of the target length.

# A keyframe may come this share before the target: otherwise jitter of GOPs of the target's length would make every
# second segment twice as long.
EARLY_SHARE = 0.1
# A segment waits for a keyframe that is due within this share: a cut before it would leave a sliver, which costs a
# message. So a GOP's last piece has at least this share, and a segment is longer by at most this share.
LATE_SHARE = 0.5
# The clock was set if timestamps skip more than this: at night, cameras go down to a frame in several seconds.
MAX_GAP_S = 30.0
# The clock was set back if timestamps go back by more than this: reordering moves them by a few frames.
MAX_STEP_BACK_S = 1.0
# The rest of a longer GOP is dropped: each of its pieces would be decoded with everything before it.
MAX_GOP_S = 60.0


class Cut(enum.Enum):
    """What a packet does, or what is done with it."""

    APPEND = "joins the segment"
    KEY = "starts a segment at a keyframe"
    DEPENDENT = "starts a segment inside the GOP"
    SKIP = "is dropped: its GOP has no beginning"
    OVERSIZE = "is dropped, and the rest of its GOP: over the limit alone"
    ENDLESS = "is dropped, and the rest of its GOP: it has become too long"
    BREAK = "does not belong to what came before: start anew with it"


class Cutter:
    """Takes packets in decode order. target_s: length of a segment. max_bytes: of the packets of one segment."""

    def __init__(self, target_s: float, max_bytes: int) -> None:
        self._target = target_s
        self._max_bytes = max_bytes
        self._open = self._dependent = False
        self._start = self._newest = self._last_key = 0.0
        self._gop: float | None = None
        self._bytes = 0

    def push(self, time: float, size: int, key: bool) -> Cut:
        """Return what the packet does; after BREAK, push it again. time: presentation, in seconds."""
        if self._open and not -MAX_STEP_BACK_S <= time - self._newest <= MAX_GAP_S:
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
            # Invariant: no GOP begins inside a segment that can't be decoded alone.
            whole = not self._open or self._dependent or full or length >= self._target * (1 - EARLY_SHARE)
            return Cut.KEY if whole else Cut.APPEND
        if time - self._last_key > MAX_GOP_S:
            return Cut.ENDLESS
        # A frame shown before the newest one stays with it: a cut between them would mix the segments' times.
        long = time > self._newest and length >= self._target and not self._keyframe_is_near(time, length)
        return Cut.DEPENDENT if full or long else Cut.APPEND

    def _keyframe_is_near(self, time: float, length: float) -> bool:
        wait = self._target * (1 + LATE_SHARE) - length
        if self._gop is None:
            return time - self._last_key < self._target * (1 + LATE_SHARE)
        until_key = self._last_key + self._gop - time
        # A keyframe that is late by a few frames is still expected.
        return -EARLY_SHARE * self._target <= until_key <= min(wait, LATE_SHARE * self._target)
