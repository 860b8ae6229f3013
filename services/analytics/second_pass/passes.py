"""The second passes of a partition's cameras. No I/O.

    passes = Passes(limits)
    passes.defer(live, rules, first)                # before live analytics reads an event with `quality`
    passes.read_live("lobby", seq, at)              # after it has read an event
    outs = passes.settle("lobby", read, next, until=0.0, over=False, now=now)

A failure ends the passes of that camera, and harms nothing that is live.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from services.analytics import metrics
from services.analytics.camera import CameraAnalytics
from services.analytics.published_ids import PublishedIds
from services.analytics.reading import Heard
from services.analytics.second_pass.camera import SecondPassCamera
from services.analytics.second_pass.state import SecondPassState
from services.analytics.second_pass.versions import BestVersion, First
from services.analytics.state import Limits
from services.analytics.statements import Outs
from shared.contract.events import Verdict
from shared.contract.rules import Rules
from shared.runtime.telemetry import logger


class Passes:
    """See the module. Iterating gives the names of cameras that have any.

    changed: cameras whose passes changed since the last checkpoint. said: by camera, what they said after it, and
    follows once more.
    """

    def __init__(self, limits: Limits) -> None:
        self.changed: set[str] = set()
        self.said: dict[str, PublishedIds] = {}
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
        """How many segments of which frames were left out are to be read."""
        return sum(settled.waiting() for settled in self._cameras.values())

    def restore(self, name: str, state: SecondPassState, rules: Rules, live: CameraAnalytics | None) -> None:
        """Go on with a camera's passes where their checkpoint is. live: the camera, where its own is."""
        self.changed.add(name)
        if live is not None:
            self._cameras[name] = SecondPassCamera(name, self._limits, state)
            self._work(name, lambda c: c.resume(rules, live.reached))

    # ---- what happens live

    def defer(self, live: CameraAnalytics, rules: Rules, first: First) -> None:
        """Live analytics is about to read an event of which frames were left out."""
        if not self._limits.settle_s:
            return
        settled = self._cameras.get(live.name) or SecondPassCamera(live.name, self._limits)
        how = settled.deferred(live, rules, first)
        if how in ("begun", "refused"):
            metrics.PASSES.labels(how).inc()
        if how in ("begun", "joined"):
            self._cameras[live.name] = settled

    def read_live(self, name: str, seq: int, at: float) -> None:
        """Live analytics has read an event."""
        if settled := self._cameras.get(name):
            self.changed.add(name)
            settled.read_live(seq, at)

    def use(self, live: CameraAnalytics, rules: Rules) -> None:
        """Live analytics goes by other rules from now on."""
        self._work(live.name, lambda c: c.use(rules, live.reached))

    def verdict(self, said: Verdict) -> Outs:
        """What follows from a model's answer about an incident that live analytics does not wait for."""
        return self._work(said.camera, lambda c: c.verdict(said))

    def refused(self, name: str, incident: str) -> Outs | None:
        """What follows where VLM has not taken the question about an incident; None where it is none of ours."""
        settled = self._cameras.get(name)
        return self._work(name, lambda c: c.refused(incident)) if settled and settled.asked(incident) else None

    def due(self, at: float) -> Iterator[tuple[str, Outs]]:
        """(camera, what follows from verdicts that are overdue)."""
        for name, settled in list(self._cameras.items()):
            if (deadline := settled.deadline()) is not None and deadline <= at:
                yield name, self._work(name, lambda c: c.due(at))

    # ---- the second pass

    def settle(
        self, name: str, read: Sequence[BestVersion | Heard], next: int, *, until: float, over: bool, now: float
    ) -> Outs:
        """What a camera's first pass makes of what it reads next. next: the sequence after that. until: nothing more
        was stored until then. over: whether that is all of it. now: by the log's clock.
        """
        return self._work(name, lambda c: _settled(c, read, next, until, over, now))

    def forget(self, name: str) -> None:
        """A camera's passes are over, or given up."""
        self._cameras.pop(name, None)
        self.said.pop(name, None)
        self.changed.add(name)

    def forget_said(self, before: int) -> None:
        """What was stored before a sequence follows no more, where there is no pass that could say it."""
        for name, said in self.said.items():
            if name not in self._cameras:
                said.forget(before)
        self.said = {name: said for name, said in self.said.items() if said}

    def _work(self, name: str, work: Callable[[SecondPassCamera], Outs]) -> Outs:
        settled = self._cameras.get(name)
        if settled is None:
            return []
        self.changed.add(name)
        try:
            outs = work(settled)
        except Exception as e:
            self._log.error("a camera's second passes are given up", camera=name, exc_info=e)
            metrics.PASSES.labels("failed").inc()
            outs = settled.give_up()
        if not settled:
            self.forget(name)
        return outs


_AMENDED = tuple(metrics.AMENDED.labels(what) for what in ("late_incident", "false_alarm", "minute"))


def _settled(
    camera: SecondPassCamera, read: Sequence[BestVersion | Heard], next: int, until: float, over: bool, now: float
) -> Outs:
    outs: Outs = []
    head, place = camera.head, camera.place
    assert place
    for one in read:
        if isinstance(one, Heard):
            outs += head.verdict(one.verdict, one.at, now)
            continue
        outs += head.read(one.first, one.better, now)
        if one.outcome != "whole":
            place.waiting = max(0, place.waiting - 1)
            metrics.DEFERRED.labels(one.outcome).inc()
    place.next, place.verdicts = max(place.next, next), max(place.verdicts, next)
    outs += head.due(until, now)
    if over:
        outs += camera.end(now)
        metrics.PASSES.labels("ended").inc()
    for counter, more in zip(_AMENDED, head.take_counts(), strict=True):
        counter.inc(more)
    return outs
