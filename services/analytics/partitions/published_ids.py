"""Ids published for a camera after its checkpoint: a successor computes the same events again. Pure.

    ids.note(id, seq)           # EVENTS has it
    ids.has(id)                 # whether an event was published before

EVENTS drops duplicate ids, but forgets them after its duplicate window, and an outage may last longer.
"""

from __future__ import annotations


class PublishedIds:
    """See the module."""

    def __init__(self) -> None:
        self._seqs: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._seqs)

    def note(self, id: str, seq: int) -> None:
        """Record that EVENTS has the id at a sequence."""
        self._seqs[id] = seq

    def has(self, id: str) -> bool:
        """Return whether the id was published, and forget it: each id is checked once."""
        return self._seqs.pop(id, None) is not None

    def has_any(self, start: str) -> bool:
        """Return whether any unchecked id starts with `start`."""
        return any(id.startswith(start) for id in self._seqs)

    def forget(self, before: int) -> None:
        """Forget ids stored before a sequence: they are not checked any more."""
        self._seqs = {id: seq for id, seq in self._seqs.items() if seq >= before}

    def first(self) -> int:
        """Return the lowest sequence of the unchecked ids. Raises ValueError if there is none."""
        return min(self._seqs.values())


NO_IDS = PublishedIds()
