"""Rotates places when more cameras are wanted than have one: cameras that do not answer make room. Pure.

    rotation.end("lobby", revision=7, tries=3, cause="refused")     # it gives up its place
    rotation.of("lobby", revision=7).over_at                         # the camera with the oldest turn, or none, is next

A turn is over after TURN_S without a connection. The camera's next turn starts with the failure count and the announced
cause of its last one. Both are forgotten if the camera's entry has changed, as that may have fixed it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import NamedTuple

# The longest wait between two tries: a camera that is away for a moment keeps its place.
TURN_S = 30.0
# An unchanged cause is announced again after this long.
REPEAT_S = 3600.0


class Tenure(NamedTuple):
    """over_at: when the turn was over, in monotonic seconds; 0: there was none. revision: of the camera's entry then.

    tries: failures in a row. cause: the announced reason for not answering, announced at `cause_at`; None: none was.
    """

    over_at: float = 0.0
    revision: int = 0
    tries: int = 0
    cause: str | None = None
    cause_at: float = 0.0


_NEVER = Tenure()


class CameraRotation:
    """See the module."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._tenures: dict[str, Tenure] = {}

    @property
    def cameras(self) -> list[str]:
        """The cameras that had a turn."""
        return list(self._tenures)

    def of(self, camera: str, revision: int) -> Tenure:
        """Return its last turn, if its entry was the same."""
        turn = self._tenures.get(camera, _NEVER)
        if turn.revision != revision:
            return _NEVER
        return turn if self._clock() - turn.cause_at < REPEAT_S else turn._replace(cause=None)

    def end(self, camera: str, revision: int, tries: int, cause: str | None) -> None:
        """End its turn now."""
        now, before = self._clock(), self.of(camera, revision)
        cause_at = before.cause_at if cause == before.cause else now
        self._tenures[camera] = Tenure(now, revision, tries, cause, cause_at)

    def mark_elsewhere(self, camera: str) -> None:
        """Note that another process has it, and may announce another cause."""
        self._tenures[camera] = self._tenures[camera]._replace(over_at=self._clock(), cause=None)

    def forget(self, camera: str) -> None:
        self._tenures.pop(camera, None)

    def keep(self, cameras: Collection[str]) -> None:
        """Forget all other cameras."""
        self._tenures = {name: turn for name, turn in self._tenures.items() if name in cameras}
