"""Why a camera stops in this process: decides what is announced, and what becomes of its video."""

from __future__ import annotations

import enum
from typing import NamedTuple

from services.ingest.delivery.camera_delivery import HANDED_OVER
from shared.bus.leasing.state import Loss


class Case(enum.Enum):
    """The first four are announced by these words, and all their video is stored."""

    ENDED = "stopped"
    DISABLED = "disabled"
    REMOVED = "removed"
    CHANGED = "changed"
    YIELDED = "its place goes to another camera: all its video is stored"
    TAKEN = "another process has taken our offer: video up to that one's start is stored"
    LOST = "another process has it, as our lease had run out: video up to the lease's end is stored"
    NOT_BEGUN = "its previous process never stopped reading it: nothing is stored"


class Stop(NamedTuple):
    """until: the end of our video in Unix seconds; None: all of it is ours, if any is."""

    case: Case
    until: float | None = None

    @classmethod
    def after(cls, loss: Loss, *, leaving: bool) -> Stop:
        """Return the stop that follows from a lost lease. leaving: whether another process had taken our offer."""
        if not loss.was_ours:
            return cls(Case.NOT_BEGUN)
        return cls(Case.TAKEN if leaving else Case.LOST, loss.until)

    @property
    def reason(self) -> str | None:
        """What is announced; None: nothing, as the camera is another process's, or waits for one."""
        announced = self.case in (Case.ENDED, Case.DISABLED, Case.REMOVED, Case.CHANGED)
        return self.case.value if announced else None

    @property
    def dropped_as(self) -> str:
        """The cause that counts video that is not ours."""
        return HANDED_OVER if self.case in (Case.TAKEN, Case.NOT_BEGUN) else "lease_lost"
