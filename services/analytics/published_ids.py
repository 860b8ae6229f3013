"""What was said of a camera after its checkpoint: whoever goes on from there works it out once more. Pure.

    said.note(id, seq)          # EVENTS has it
    said.has(id)                # of whatever is to be said: whether it was said before

EVENTS drops by its id what it has, but forgets ids after its duplicate window, and an outage may last longer.
"""

from __future__ import annotations


class PublishedIds:
    """See the module."""

    def __init__(self) -> None:
        self._seqs: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._seqs)

    def note(self, id: str, seq: int) -> None:
        """It is in EVENTS, at a sequence."""
        self._seqs[id] = seq

    def has(self, id: str) -> bool:
        """Whether it was said. It is asked about once, and then forgotten."""
        return self._seqs.pop(id, None) is not None

    def has_any(self, start: str) -> bool:
        """Whether anything was said whose id begins so, and `has` was not asked about yet."""
        return any(id.startswith(start) for id in self._seqs)

    def forget(self, before: int) -> None:
        """What was stored before a sequence is asked about no more."""
        self._seqs = {id: seq for id, seq in self._seqs.items() if seq >= before}

    def first(self) -> int:
        """The lowest sequence of what was not asked about yet. Raises ValueError where there is nothing."""
        return min(self._seqs.values())


NOTHING = PublishedIds()
