"""A fixed share of all cameras, by their ids, which one process has at a time. No I/O.

    partition = Partition(7, limits, rules_of)
    outs = partition.read(stored)
    for camera, outs in partition.due(at): ...

Time is the log's: when a message was stored. A camera's deadlines before that come first, each at its own time. So what
comes out is the same, whoever reads it and whenever.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import NamedTuple

from services.analytics import metrics
from services.analytics.camera import CameraAnalytics, FailedSegment
from services.analytics.reading import EVERYTHING, Heard
from services.analytics.rules import Rules
from services.analytics.said import NOTHING, Said
from services.analytics.settled.camera import SettledCamera
from services.analytics.settled.state import SettledState, is_settled
from services.analytics.settled.versions import First, Settled
from services.analytics.state import CameraState, Limits
from services.analytics.statements import Outs
from shared.bus.direct import Stored
from shared.contract import events
from shared.contract.events import Detections, Verdict
from shared.runtime.errors import BadMessage
from shared.runtime.redact import redact
from shared.runtime.telemetry import logger

LONGEST_REASON = 500


def partition_of(camera: str, count: int) -> int:
    """Which of `count` partitions a camera belongs to."""
    return zlib.crc32(camera.encode()) % count


def camera_of(subject: str) -> str:
    """The camera of an event's subject."""
    return subject.rpartition(".")[2]


class BadDetections(NamedTuple):
    """Detections that can't be worked on, and why. seq: in EVENTS. stored: the message, where it is still at hand."""

    camera: str
    seq: int
    reason: str
    stored: Stored | None = None


class Partition:
    """See the module. changed: cameras that changed since the last checkpoint. bad: what is to be dead-lettered.

    position, verdicts: the sequences in EVENTS from which it reads detections and verdicts on. told: that of what was
    said last, or -1. said: by camera, what was said after the checkpoint, and follows once more.

    settled: the cameras of which frames were left out, followed a second time; settled_changed, settled_said: the same
    of these.
    """

    def __init__(self, number: int, limits: Limits, rules_of: Callable[[str], Rules]) -> None:
        self.number = number
        self.position = self.verdicts = 0
        self.told = -1
        self.said: dict[str, Said] = {}
        self.cameras: dict[str, CameraAnalytics] = {}
        self.changed: set[str] = set()
        self.bad: list[BadDetections] = []
        self.settled: dict[str, SettledCamera] = {}
        self.settled_changed: set[str] = set()
        self.settled_said: dict[str, Said] = {}
        self._limits = limits
        self._rules_of = rules_of
        self._log = logger("analytics")

    def restore(self, camera: str, state: CameraState) -> None:
        """Go on with a camera where its checkpoint is."""
        self.cameras[camera] = CameraAnalytics(camera, self._limits, self._rules_of(camera), state)

    def restore_settled(self, camera: str, state: SettledState) -> None:
        """Go on with a camera's second passes where their checkpoint is, once the camera is there."""
        if camera in self.cameras:
            self.settled[camera] = SettledCamera(camera, self._limits, state)
            self.settled[camera].use(self._rules_of(camera), self.cameras[camera].reached)

    def use(self, camera: str, rules: Rules) -> Outs:
        """A camera's rules have changed: what follows from that."""
        if camera not in self.cameras:
            return []
        if settled := self.settled.get(camera):
            self.settled_changed.add(camera)
            settled.use(rules, self.cameras[camera].reached)
        return self._work(camera, lambda c: c.use(rules))

    def read(self, stored: Stored) -> Outs:
        """What follows from a message of `events.detections.*`."""
        name = camera_of(stored.subject)
        try:
            event = events.decode(stored.data, Detections, stored.subject)
        except BadMessage as e:
            metrics.READ.labels("unreadable").inc()
            self.bad.append(BadDetections(name, stored.seq, redact(str(e), LONGEST_REASON), stored))
            return []
        if name not in self.cameras:
            self.cameras[name] = CameraAnalytics(name, self._limits, self._rules_of(name))
        at = stored.time.timestamp()
        if event.quality and self._limits.settle_s:
            self._defer(First(stored.seq, stored.headers.get("ce-id", ""), at, event))
        outs = self._work(name, lambda c: c.read(stored.seq, event, at), stored)
        if settled := self.settled.get(name):
            settled.read_live(stored.seq, at)
            self.settled_changed.add(name)
        return outs

    def verdict(self, said: Verdict, at: float) -> Outs:
        """What follows from a vision language model's answer about one of its cameras. at: when that was stored."""
        camera = self.cameras.get(said.camera)
        if camera is None:
            return []
        if (settled := self.settled.get(said.camera)) and said.incident not in camera.incidents.state.asked:
            self.settled_changed.add(said.camera)
            return self._work(said.camera, lambda c: c.verdict(said, at)) + settled.verdict(said)
        return self._work(said.camera, lambda c: c.verdict(said, at))

    def refused(self, camera: str, incident: str) -> Outs:
        """What follows where VLM has not taken the question about an incident."""
        if (settled := self.settled.get(camera)) and (outs := settled.refused(incident)) is not None:
            return outs
        return self._work(camera, lambda c: c.refused(incident)) if camera in self.cameras else []

    def due(self, at: float, seq: int = EVERYTHING) -> Iterator[tuple[str, Outs]]:
        """(camera, what follows from deadlines), once all that was stored until `at`, up to `seq`, has been read."""
        for name, camera in list(self.cameras.items()):
            camera.passed(seq)
            if (deadline := camera.deadline()) is not None and deadline <= at:
                yield name, self._work(name, lambda c: c.due(at))
        for name, settled in list(self.settled.items()):
            if (deadline := settled.deadline()) is not None and deadline <= at:
                self.settled_changed.add(name)
                yield name, settled.due(at)
                self._keep_settled(name)

    # ---- the second pass

    def settle(self, name: str, read: Sequence[Settled | Heard], next: int, *, over: bool, now: float) -> Outs:
        """What a camera's first second pass makes of what it reads next. next: the sequence after that. over: whether
        the pass is. now: by the log's clock.

        A failure ends the pass, and harms nothing that is live.
        """
        settled = self.settled[name]
        self.settled_changed.add(name)
        outs: Outs = []
        try:
            head, place = settled.head, settled.place
            assert place
            for one in read:
                if isinstance(one, Settled):
                    outs += head.read(one.first, one.better, now)
                    if one.outcome != "whole":
                        place.waiting = max(0, place.waiting - 1)
                        metrics.DEFERRED.labels(one.outcome).inc()
                else:
                    outs += head.verdict(one.verdict, one.at, now)
            place.next = max(place.next, next)
            place.verdicts = max(place.verdicts, next)
            if over:
                outs += settled.end(now)
                metrics.PASSES.labels("ended").inc()
            for counter, more in zip(_AMENDED, head.take_counts(), strict=True):
                counter.inc(more)
        except Exception as e:
            self._log.error("a second pass is given up", camera=name, exc_info=e)
            metrics.PASSES.labels("failed").inc()
            outs = settled.give_up()
        self._keep_settled(name)
        return outs

    def forget_settled(self, name: str) -> None:
        """A camera's second passes are given up."""
        self.settled.pop(name, None)
        self.settled_said.pop(name, None)

    def _defer(self, first: First) -> None:
        """Frames were left out of an event that is about to be read."""
        name = first.event.camera
        settled = self.settled.get(name) or SettledCamera(name, self._limits)
        how = settled.deferred(self.cameras[name], self._rules_of(name), first)
        if how in ("begun", "refused"):
            metrics.PASSES.labels(how).inc()
        if how in ("begun", "joined"):
            self.settled[name] = settled

    def _keep_settled(self, name: str) -> None:
        """Forget a camera's second passes once there is nothing left of them."""
        if (settled := self.settled.get(name)) is not None and not settled:
            self.forget_settled(name)

    def first_needed(self) -> int:
        """The sequence from which a successor must read, once all states are stored."""
        held = (min(state.held) for c in self.cameras.values() if (state := c.state()).held)
        return min([self.position, *held])

    def said_of(self, camera: str, id: str = "") -> Said:
        """What was said of a camera after the checkpoint, and follows once more: of the pass that says `id`."""
        return (self.settled_said if is_settled(id) else self.said).get(camera, NOTHING)

    def recall(self, camera: str, id: str, seq: int) -> None:
        """EVENTS has something of a camera, at a sequence: if that came after the checkpoint, it follows once more."""
        if seq > self.told:
            (self.settled_said if is_settled(id) else self.said).setdefault(camera, Said()).note(id, seq)

    def first_untold(self) -> int:
        """The sequence from which EVENTS has all that is said from now on, and what was said and follows once more."""
        now = max(self.position, self.told + 1)
        follow = chain(self.said.values(), self.settled_said.values())
        return min((said.first() for said in follow if said), default=now)

    def advance(self, position: int) -> None:
        """All that follows from EVENTS before `position` has been said."""
        self.position = max(self.position, position)
        # What a second pass has said may follow as long as there is one.
        over = (said for camera, said in self.settled_said.items() if camera not in self.settled)
        for said in chain(self.said.values(), over):
            said.forget(self.position)
        self.said = {camera: said for camera, said in self.said.items() if said}
        self.settled_said = {camera: said for camera, said in self.settled_said.items() if said}

    def _work(self, name: str, work: Callable[[CameraAnalytics], Outs], stored: Stored | None = None) -> Outs:
        """Work on a camera, and count it. A failure ends that camera's tracks and harms no other camera.

        stored: the message that it is about.
        """
        camera = self.cameras[name]
        self.changed.add(name)
        before = _counts(camera)
        try:
            outs = work(camera)
        except Exception as e:
            if stored:
                camera.failed.append(FailedSegment(stored.seq, e))
            else:
                self._log.error("a camera is followed anew", camera=name, exc_info=e)
            outs = camera.anew()
        for seq, error in camera.failed:
            self._log.error("a segment could not be worked on", camera=name, seq=seq, exc_info=error)
            metrics.READ.labels("failed").inc()
            at_hand = stored if stored and stored.seq == seq else None
            self.bad.append(
                BadDetections(name, seq, f"analytics failed on it: {redact(repr(error), LONGEST_REASON)}", at_hand)
            )
        camera.failed.clear()
        for counter, more in zip(_COUNTERS, (b - a for a, b in zip(before, _counts(camera), strict=True)), strict=True):
            counter.inc(more)
        return outs


_COUNTERS = (
    metrics.READ.labels("taken"),
    metrics.READ.labels("late"),
    metrics.READ.labels("repeated"),
    metrics.GAPS,
    metrics.OBJECTS,
    metrics.SUPPRESSED,
)


_AMENDED = tuple(metrics.AMENDED.labels(what) for what in ("late_incident", "false_alarm", "minute"))


def _counts(camera: CameraAnalytics) -> tuple[int, ...]:
    order = camera.order
    return camera.taken, order.late, order.repeated, order.gaps, camera.objects, camera.incidents.suppressed
