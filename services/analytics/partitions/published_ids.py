"""Ids published for a camera after its checkpoint: a successor computes the same events again. Pure.

    ids.note(id, seq)           # EVENTS has it
    ids.has(id)                 # whether an event was published before

EVENTS drops duplicate ids, but forgets them after its duplicate window, and an outage may last longer.
"""

from __future__ import annotations

from collections.abc import Container


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


class PublishedByCamera:
    """The ids of several cameras."""

    def __init__(self) -> None:
        self._by_camera: dict[str, PublishedIds] = {}

    def __contains__(self, camera: str) -> bool:
        return camera in self._by_camera

    def of(self, camera: str) -> PublishedIds:
        return self._by_camera.get(camera, _NO_IDS)

    def note(self, camera: str, id: str, seq: int) -> None:
        """Record that EVENTS has the id at a sequence."""
        self._by_camera.setdefault(camera, PublishedIds()).note(id, seq)

    def drop(self, camera: str) -> None:
        self._by_camera.pop(camera, None)

    def forget(self, before: int, keep: Container[str] = ()) -> None:
        """Forget ids stored before a sequence, but those of the cameras to keep."""
        for camera, ids in self._by_camera.items():
            if camera not in keep:
                ids.forget(before)
        self._by_camera = {camera: ids for camera, ids in self._by_camera.items() if ids}

    def firsts(self) -> list[int]:
        """Return the lowest sequence of each camera's unchecked ids."""
        return [ids.first() for ids in self._by_camera.values() if ids]


_NO_IDS = PublishedIds()
