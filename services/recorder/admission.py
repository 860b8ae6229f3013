"""The cameras to record: each that has an entry or a policy, and a limited number of others.

Any publisher of segments can invent cameras. Each takes a ledger, which stays; a bucket full of them would stop all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from shared.recordings.policy import camera_key


class Admission:
    """entries, policies: of the buckets `cameras` and `recordings`. most_unlisted: maximum of other cameras."""

    def __init__(self, entries: Mapping[str, bytes], policies: Mapping[str, bytes], most_unlisted: int) -> None:
        self._entries, self._policies = entries, policies
        self._most_unlisted = most_unlisted
        self._unlisted: set[str] = set()

    def is_listed(self, camera: str) -> bool:
        """Return whether a camera has an entry or a policy of its own."""
        return camera in self._entries or camera_key(camera) in self._policies

    def restore(self, recorded: Iterable[str]) -> None:
        """Give places to the cameras that have a ledger already."""
        self._unlisted.update(camera for camera in recorded if not self.is_listed(camera))

    def admit(self, cameras: Iterable[str]) -> set[str]:
        """Return those of the cameras that have a place; give free places to the others."""
        admitted = set()
        for camera in sorted(cameras):
            if self.is_listed(camera):
                admitted.add(camera)
            elif camera in self._unlisted or len(self._unlisted) < self._most_unlisted:
                self._unlisted.add(camera)
                admitted.add(camera)
        return admitted
