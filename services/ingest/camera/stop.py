"""Why a camera stops in this process: decides what is announced, and what becomes of its video.

| cause | announced | which video is stored | counted as |
|---|---|---|---|
| ENDED, DISABLED, REMOVED, CHANGED | yes | all | `stopped` |
| YIELDED: its place goes to another camera | no | all | `lease_lost` |
| TAKEN: another process has taken our offer | no | up to that one's start | not: the other process has it |
| LOST: another process has it, as our lease had run out | no | up to the lease's end | `lease_lost` |
| NOT_BEGUN: its previous process never stopped reading it | no | none | not: the other process has it |

The last column is of video that is dropped. What is ours and can't be stored in time counts as `stopped` if the stop is
announced, and as `lease_lost` otherwise.
"""

from __future__ import annotations

import enum
from typing import NamedTuple

from services.ingest.delivery.camera_delivery import HANDED_OVER
from shared.bus.leasing.state import Loss

# As `stores_until`.
NOTHING = 0.0


class StopCause(enum.Enum):
    """See the module. The words of the first four are announced."""

    ENDED = "stopped"
    DISABLED = "disabled"
    REMOVED = "removed"
    CHANGED = "changed"
    YIELDED = "yielded"
    TAKEN = "taken"
    LOST = "lost"
    NOT_BEGUN = "not begun"


class Stop(NamedTuple):
    """until: the end of our video in Unix seconds; None: all of it is ours, if any is. also: that of further streams of
    the camera; empty: the same.
    """

    cause: StopCause
    until: float | None = None
    also: tuple[float | None, ...] = ()

    @classmethod
    def after(cls, loss: Loss, *, leaving: bool) -> Stop:
        """Return the stop that follows from a lost lease. leaving: whether another process had taken our offer."""
        if not loss.was_ours:
            return cls(StopCause.NOT_BEGUN)
        return cls(StopCause.TAKEN if leaving else StopCause.LOST, loss.until, loss.also)

    @property
    def reason(self) -> str | None:
        """What is announced; None: nothing, as the camera is another process's, or waits for one."""
        announced = self.cause in (StopCause.ENDED, StopCause.DISABLED, StopCause.REMOVED, StopCause.CHANGED)
        return self.cause.value if announced else None

    def stores_until(self, stream: int) -> float | None:
        """Return Unix seconds up to which the video of a stream, by its index, is stored; None: all of it."""
        if self.cause is StopCause.NOT_BEGUN:
            return NOTHING
        return self.also[stream - 1] if 0 < stream <= len(self.also) else self.until

    @property
    def dropped_as(self) -> str:
        """The cause that counts video that is not ours."""
        return HANDED_OVER if self.cause in (StopCause.TAKEN, StopCause.NOT_BEGUN) else "lease_lost"
