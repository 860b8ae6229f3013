"""The seam for an optional further analysis of a partition's cameras, with its own state, ids and pace.

Without one, a partition has an `Extension`, which does nothing; `services/analytics/app.py` attaches another. The live
results of a camera never depend on it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, TypeAlias

from services.analytics.camera.camera import CameraAnalytics
from services.analytics.camera.statements import Outs
from services.analytics.limits import Limits
from services.analytics.partitions.published_ids import PublishedIds
from shared.bus.direct import Stored
from shared.contract.events import Detections, Verdict
from shared.contract.rules import Rules


class Extension:
    """See the module. Its states are stored next to those of the cameras, as of the same position in EVENTS.

    kind, state_type: the first token of its states' keys, and their type; an empty kind: no states. changed: cameras
    whose state changed since the last checkpoint. published: ids published since then. In methods, camera: its name.
    """

    kind: ClassVar = ""
    state_type: ClassVar[type[Any]] = object

    def __init__(
        self, limits: Limits, cameras: Mapping[str, CameraAnalytics], rules_of: Callable[[str], Rules]
    ) -> None:
        self.changed: set[str] = set()
        self.published = PublishedIds()
        self._limits = limits
        self._live = cameras
        self._rules_of = rules_of

    def state(self, camera: str) -> Any:
        """Return the state to store; None if there is none."""

    def restore(self, camera: str, state: Any) -> None:
        """Restore a camera from its checkpoint, after its live analysis."""

    def restart(self, camera: str, problem: Exception | None = None) -> None:
        """Drop the state: it has no room, or can't be written, which is the `problem`."""

    def owns(self, id: str) -> bool:
        """Whether an event's id is one of its own."""
        return False

    def has(self, camera: str) -> bool:
        """Whether it has anything to do for a camera."""
        return False

    def read(self, camera: str, stored: Stored, event: Detections) -> None:
        """Note an event, before the live analysis reads it."""

    def use(self, camera: str, rules: Rules) -> None:
        """Apply the rules that the live analysis uses from now on."""

    def verdict(self, verdict: Verdict) -> Outs:
        """Apply a verdict about an incident that the live analysis does not wait for."""
        return []

    def refused(self, camera: str, incident: str) -> Outs | None:
        """Mark an incident unverified, as VLM refused its request; return None if it is not one of its own."""
        return None

    def due(self, at: float) -> Iterator[tuple[str, Outs]]:
        """Yield (camera, results of deadlines until `at`)."""
        yield from ()

    def advance(self, position: int) -> None:
        """Forget what only events before `position` need."""


Extend: TypeAlias = Callable[[Limits, Mapping[str, CameraAnalytics], Callable[[str], Rules]], Extension]
