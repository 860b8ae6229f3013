"""Infers whether a camera plays one stream at a time: it refuses the second, or ends the first for it. Pure.

    limit = ConnectionLimit()
    limit.begin(Stream.MAIN)                  # an attempt begins
    limit.opened(Stream.MAIN, now)            # it plays
    limit.ended(Stream.MAIN, "refused", now)  # it ended, or the attempt failed
    limit.explains("refused")                 # a repeated sign that explains this cause, or None

A few signs are chance: cameras restart, and networks fail.
"""

from __future__ import annotations

from collections import Counter
from enum import Enum

from services.ingest.streams import Stream

# Signs in a row that count.
SIGNS = 3
# A camera ends a stream within this long, in seconds, of the other's beginning.
_SUDDEN_S = 3.0
# Streams that play together for this long, in seconds, prove that the camera has no such limit.
TOGETHER_S = 10.0
# Causes of a failed attempt that a camera without room for another connection may give.
_REFUSALS = frozenset({"rejected", "camera_error", "refused", "connection_lost", "forbidden"})
# `stopped`: our own end of the main stream, which makes room.
_ENDS = _REFUSALS | {"ended", "error", "timeout", "stopped"}


class Sign(Enum):
    """REFUSES: it refuses a stream while the other plays. ENDS: it ends a stream when the other begins."""

    REFUSES = "refuses"
    ENDS = "ends"


class ConnectionLimit:
    """Of one camera with two streams. Times are in monotonic seconds."""

    def __init__(self) -> None:
        self._attempts: set[Stream] = set()
        self._playing: dict[Stream, float] = {}
        # Streams that begin, and during whose attempt the other ended.
        self._suspects: set[Stream] = set()
        self._signs: Counter[Sign] = Counter()

    def explains(self, cause: str) -> Sign | None:
        """Return the sign that was seen repeatedly, if it explains the cause of a failure."""
        if self._signs[Sign.ENDS] >= SIGNS and cause in _ENDS:
            return Sign.ENDS
        is_refusal = cause in _REFUSALS or cause == "stopped"
        return Sign.REFUSES if self._signs[Sign.REFUSES] >= SIGNS and is_refusal else None

    def begin(self, stream: Stream) -> None:
        self._attempts.add(stream)

    def opened(self, stream: Stream, now: float) -> None:
        self._attempts.discard(stream)
        self._playing[stream] = now
        if stream in self._suspects:
            self._suspects.discard(stream)
            self._signs[Sign.ENDS] += 1

    def ended(self, stream: Stream, cause: str, now: float) -> None:
        """cause: see `Failure`."""
        self._attempts.discard(stream)
        self._suspects.discard(stream)
        since = self._playing.pop(stream, None)
        for others_since in self._playing.values():
            if since is None:
                self._signs[Sign.REFUSES] += cause in _REFUSALS
            elif now - max(since, others_since) >= TOGETHER_S:
                self._signs.clear()
            elif others_since > since and now - others_since <= _SUDDEN_S:
                self._signs[Sign.ENDS] += 1
        if since is not None:
            self._suspects |= self._attempts
