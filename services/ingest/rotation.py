"""Whose turn it is where more cameras are wanted than have a place: the dead make room for those that wait. Pure.

    rotation.end("lobby", revision=7, tries=3, said="refused")      # it gives up its place
    rotation.of("lobby", revision=7).over_at                         # who had a turn long ago, or never, is next

A turn is over after TURN_S without a connection. What was known of the camera is known in its next turn: how long to
wait between two tries, and what was said of it. It is forgotten where the camera's entry is another, as that may have
mended it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import NamedTuple

# As long as the longest wait between two tries: a camera that is away for a moment keeps its place.
TURN_S = 30.0
# Why it does not answer is said again after so long.
SAID_S = 3600.0


class Tenure(NamedTuple):
    """over_at: when it was over, in monotonic seconds; 0: there was none. revision: of the camera's entry then.

    tries: that failed in a row. said: why it does not answer, as it was said last, at `said_at`; None: nothing was.
    """

    over_at: float = 0.0
    revision: int = 0
    tries: int = 0
    said: str | None = None
    said_at: float = 0.0


_NEVER = Tenure()


class CameraRotation:
    """See the module."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._tenures: dict[str, Tenure] = {}

    @property
    def cameras(self) -> list[str]:
        """Those that had one."""
        return list(self._tenures)

    def of(self, camera: str, revision: int) -> Tenure:
        """Its last turn, if its entry was the same."""
        turn = self._tenures.get(camera, _NEVER)
        if turn.revision != revision:
            return _NEVER
        return turn if self._clock() - turn.said_at < SAID_S else turn._replace(said=None)

    def end(self, camera: str, revision: int, tries: int, said: str | None) -> None:
        """Its turn is over now."""
        now, before = self._clock(), self.of(camera, revision)
        said_at = before.said_at if said == before.said else now
        self._tenures[camera] = Tenure(now, revision, tries, said, said_at)

    def was_elsewhere(self, camera: str) -> None:
        """Another process has it, and may say other things of it."""
        self._tenures[camera] = self._tenures[camera]._replace(over_at=self._clock(), said=None)

    def forget(self, camera: str) -> None:
        self._tenures.pop(camera, None)

    def keep(self, cameras: Collection[str]) -> None:
        """Forget all others."""
        self._tenures = {name: turn for name, turn in self._tenures.items() if name in cameras}
