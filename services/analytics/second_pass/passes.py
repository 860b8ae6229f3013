"""The second passes of a partition's cameras. No I/O.

    passes = Passes(limits)
    passes.defer(live, rules, first)                # before live analytics reads an event with `quality`
    passes.read_live("lobby", seq, at)              # after it has read an event
    outs = passes.advance("lobby", read, next, until=0.0, over=False, now=now)

A failure ends the passes of that camera, and harms nothing that is live.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from services.analytics import metrics
from services.analytics.camera.camera import CameraAnalytics
from services.analytics.camera.statements import Outs
from services.analytics.limits import Limits
from services.analytics.partitions.published_ids import PublishedIds
from services.analytics.partitions.reading import StoredVerdict
from services.analytics.second_pass.camera import SecondPassCamera
from services.analytics.second_pass.state import SecondPassState
from services.analytics.second_pass.versions import BestVersion, First
from shared.contract.events import Verdict
from shared.contract.rules import Rules
from shared.runtime.telemetry import logger


class Passes:
    """See the module. Iterating gives the names of cameras that have any.

    changed: cameras whose passes changed since the last checkpoint. published: by camera, ids published after it, to be
    computed again.
    """

    def __init__(self, limits: Limits) -> None:
        self.changed: set[str] = set()
        self.published: dict[str, PublishedIds] = {}
        self._limits = limits
        self._cameras: dict[str, SecondPassCamera] = {}
        self._log = logger("analytics")

    def __iter__(self) -> Iterator[str]:
        return iter(self._cameras)

    def __len__(self) -> int:
        return len(self._cameras)

    def of(self, camera: str) -> SecondPassCamera | None:
        return self._cameras.get(camera)

    def waiting(self) -> int:
        """Return the number of segments with deferred frames to be read."""
        return sum(camera.waiting() for camera in self._cameras.values())

    def restore(self, name: str, state: SecondPassState, rules: Rules, live: CameraAnalytics | None) -> None:
        """Restore a camera's passes from their checkpoint. live: the camera, if restored from its own."""
        self.changed.add(name)
        if live is not None:
            self._cameras[name] = SecondPassCamera(name, self._limits, state)
            self._work(name, lambda c: c.resume(rules, live.reached))

    # ---- what happens live

    def defer(self, live: CameraAnalytics, rules: Rules, first: First) -> None:
        """Note an event with deferred frames, before live analytics reads it."""
        if not self._limits.settle_s:
            return
        camera = self._cameras.get(live.name) or SecondPassCamera(live.name, self._limits)
        outcome = camera.defer(live, rules, first)
        if outcome in ("begun", "refused"):
            metrics.PASSES.labels(outcome).inc()
        if outcome in ("begun", "joined"):
            self._cameras[live.name] = camera

    def read_live(self, name: str, seq: int, at: float) -> None:
        """Note that live analytics has read an event."""
        if camera := self._cameras.get(name):
            self.changed.add(name)
            camera.read_live(seq, at)

    def use(self, live: CameraAnalytics, rules: Rules) -> None:
        """Apply the rules that live analytics uses from now on."""
        self._work(live.name, lambda c: c.use(rules, live.reached))

    def verdict(self, verdict: Verdict) -> Outs:
        """Apply a model's verdict about an incident that live analytics does not wait for."""
        return self._work(verdict.camera, lambda c: c.verdict(verdict))

    def refused(self, name: str, incident: str) -> Outs | None:
        """Mark an incident unverified, as VLM refused its request; return None if it is not from a second pass."""
        camera = self._cameras.get(name)
        return self._work(name, lambda c: c.refused(incident)) if camera and camera.is_waiting_for(incident) else None

    def due(self, at: float) -> Iterator[tuple[str, Outs]]:
        """Yield (camera, results of overdue verdicts)."""
        for name, camera in list(self._cameras.items()):
            if (deadline := camera.deadline()) is not None and deadline <= at:
                yield name, self._work(name, lambda c: c.due(at))

    # ---- the second pass

    def advance(
        self, name: str, read: Sequence[BestVersion | StoredVerdict], next: int, *, until: float, over: bool, now: float
    ) -> Outs:
        """Process what a camera's first pass reads next. next: the sequence after that.

        until: nothing more was stored until then. over: whether that is all of it. now: by the log's clock.
        """
        return self._work(name, lambda c: _advance(c, read, next, until, over, now))

    def forget(self, name: str) -> None:
        """Remove a camera's passes, ended or given up."""
        self._cameras.pop(name, None)
        self.published.pop(name, None)
        self.changed.add(name)

    def forget_published(self, before: int) -> None:
        """Forget ids stored before a sequence, of cameras without a pass that could publish them."""
        for name, ids in self.published.items():
            if name not in self._cameras:
                ids.forget(before)
        self.published = {name: ids for name, ids in self.published.items() if ids}

    def _work(self, name: str, work: Callable[[SecondPassCamera], Outs]) -> Outs:
        camera = self._cameras.get(name)
        if camera is None:
            return []
        self.changed.add(name)
        try:
            outs = work(camera)
        except Exception as e:
            self._log.error("a camera's second passes are given up", camera=name, exc_info=e)
            metrics.PASSES.labels("failed").inc()
            outs = camera.give_up()
        if not camera:
            self.forget(name)
        return outs


_AMENDED = tuple(metrics.AMENDED.labels(what) for what in ("late_incident", "false_alarm", "minute"))


def _advance(
    camera: SecondPassCamera,
    read: Sequence[BestVersion | StoredVerdict],
    next: int,
    until: float,
    over: bool,
    now: float,
) -> Outs:
    outs: Outs = []
    head, place = camera.head, camera.place
    assert place
    for item in read:
        if isinstance(item, StoredVerdict):
            outs += head.verdict(item.verdict, item.at, now)
            continue
        outs += head.read(item.first, item.better, now)
        if item.outcome != "whole":
            place.waiting = max(0, place.waiting - 1)
            metrics.DEFERRED.labels(item.outcome).inc()
    place.next, place.verdicts = max(place.next, next), max(place.verdicts, next)
    outs += head.due(until, now)
    if over:
        outs += camera.end(now)
        metrics.PASSES.labels("ended").inc()
    for counter, more in zip(_AMENDED, head.take_counts(), strict=True):
        counter.inc(more)
    return outs
