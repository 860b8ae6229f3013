"""Ids published for cameras after their checkpoint: a successor computes the same events again. Pure.

    ids.note(camera, id, seq)   # EVENTS has it
    ids.has(camera, id)         # whether an event was published before

EVENTS drops duplicate ids, but forgets them after its duplicate window, and an outage may last longer.
"""

from __future__ import annotations

from collections.abc import Container


class PublishedIds:
    """See the module. Each id is checked once, and forgotten then."""

    def __init__(self) -> None:
        self._seqs: dict[str, dict[str, int]] = {}

    def __contains__(self, camera: str) -> bool:
        return camera in self._seqs

    def note(self, camera: str, id: str, seq: int) -> None:
        """Record that EVENTS has the id at a sequence."""
        self._seqs.setdefault(camera, {})[id] = seq

    def has(self, camera: str, id: str) -> bool:
        """Return whether the id was published, and forget it."""
        return self._seqs.get(camera, {}).pop(id, None) is not None

    def has_any(self, camera: str, start: str) -> bool:
        """Return whether any unchecked id starts with `start`."""
        return any(id.startswith(start) for id in self._seqs.get(camera, ()))

    def drop(self, camera: str) -> None:
        self._seqs.pop(camera, None)

    def forget(self, before: int, keep: Container[str] = ()) -> None:
        """Forget ids stored before a sequence, but those of the cameras to keep: they are not checked any more."""
        for camera in [camera for camera in self._seqs if camera not in keep]:
            self._seqs[camera] = {id: seq for id, seq in self._seqs[camera].items() if seq >= before}
        self._seqs = {camera: seqs for camera, seqs in self._seqs.items() if seqs}

    def seqs(self) -> list[int]:
        """Return the sequences of all unchecked ids."""
        return [seq for seqs in self._seqs.values() for seq in seqs.values()]
