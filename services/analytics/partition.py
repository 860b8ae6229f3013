"""A fixed share of all cameras, by their ids, which one process has at a time. No I/O.

    partition = Partition(7, limits, rules_of, is_listed, budget)
    outs = partition.read(stored)
    for camera, outs in partition.due(at): ...

Time is the log's: when a message was stored. A camera's deadlines before that come first, each at its own time. So what
comes out is the same, whoever reads it and whenever.

Memory has a budget, as anybody who may publish detections can invent cameras. A listed camera, which has an entry or
rules, always has a place; others take what places there are as they come, and leave theirs once they are idle.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import accumulate, chain
from typing import NamedTuple

from msgspec.structs import replace

from services.analytics import metrics
from services.analytics.budget import WHOLE, Budget
from services.analytics.camera import CameraAnalytics, FailedSegment
from services.analytics.published_ids import NOTHING, PublishedIds
from services.analytics.reading import EVERYTHING
from services.analytics.second_pass.passes import Passes
from services.analytics.second_pass.state import SecondPassState, is_second_pass
from services.analytics.second_pass.versions import First
from services.analytics.state import CameraState, Limits
from services.analytics.statements import Outs
from shared.bus.direct import Stored
from shared.contract import events
from shared.contract.events import Detections, Verdict
from shared.contract.rules import Rules
from shared.runtime.errors import BadMessage
from shared.runtime.redact import redact
from shared.runtime.telemetry import logger

LONGEST_REASON = 500
# Of a segment of an unlisted camera, frames are looked at until this many objects were.
UNLISTED_OBJECTS = 200


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
    ended: what follows from states that a checkpoint has dropped, by camera, until `due` gives it.
    passes: the second ones, of cameras of which frames were left out. budget: what it may hold.
    """

    def __init__(
        self,
        number: int,
        limits: Limits,
        rules_of: Callable[[str], Rules],
        is_listed: Callable[[str], bool] = lambda camera: True,
        budget: Budget = WHOLE,
    ) -> None:
        self.number = number
        self.position = self.verdicts = 0
        self.told = -1
        self.said: dict[str, PublishedIds] = {}
        self.cameras: dict[str, CameraAnalytics] = {}
        self.changed: set[str] = set()
        self.bad: list[BadDetections] = []
        self.ended: list[tuple[str, Outs]] = []
        self.passes = Passes(limits)
        self.budget = budget
        self._is_listed = is_listed
        self._unlisted: set[str] = set()
        self._limits = limits
        self._rules_of = rules_of
        self._log = logger("analytics")

    def restore(self, camera: str, state: CameraState) -> None:
        """Go on with a camera where its checkpoint is."""
        self._add(camera, state)

    def restore_passes(self, camera: str, state: SecondPassState) -> None:
        """Go on with a camera's second passes where their checkpoint is, once the camera is there."""
        self.passes.restore(camera, state, self._rules_of(camera), self.cameras.get(camera))

    def use(self, camera: str, rules: Rules) -> Outs:
        """A camera's rules have changed: what follows from that."""
        if camera not in self.cameras:
            return []
        self.passes.use(self.cameras[camera], rules)
        return self._work(camera, lambda c: c.use(rules))

    def read(self, stored: Stored) -> Outs:
        """What follows from a message of `events.detections.*`."""
        name = camera_of(stored.subject)
        if not self._has_place(name):
            metrics.READ.labels("unlisted").inc()
            return []
        try:
            event = events.decode(stored.data, Detections, stored.subject)
        except BadMessage as e:
            metrics.READ.labels("unreadable").inc()
            self.bad.append(BadDetections(name, stored.seq, redact(str(e), LONGEST_REASON), stored))
            return []
        if name not in self.cameras:
            self._add(name)
        at = stored.time.timestamp()
        if name in self._unlisted:
            event = _cut(event, UNLISTED_OBJECTS)
        if event.quality:
            first = First(stored.seq, stored.headers.get("ce-id", ""), at, event)
            self.passes.defer(self.cameras[name], self._rules_of(name), first)
        outs = self._work(name, lambda c: c.read(stored.seq, event, at), stored)
        self.passes.read_live(name, stored.seq, at)
        return outs

    def verdict(self, said: Verdict, at: float) -> Outs:
        """What follows from a vision language model's answer about one of its cameras. at: when that was stored."""
        camera = self.cameras.get(said.camera)
        if camera is None:
            return []
        live = said.incident in camera.incidents.state.asked
        outs = self._work(said.camera, lambda c: c.verdict(said, at))
        return outs if live else outs + self.passes.verdict(said)

    def refused(self, camera: str, incident: str) -> Outs:
        """What follows where VLM has not taken the question about an incident."""
        if (outs := self.passes.refused(camera, incident)) is not None:
            return outs
        return self._work(camera, lambda c: c.refused(incident)) if camera in self.cameras else []

    def due(self, at: float, seq: int = EVERYTHING) -> Iterator[tuple[str, Outs]]:
        """(camera, what follows from deadlines), once all that was stored until `at`, up to `seq`, has been read."""
        yield from self.ended
        self.ended = []
        for name, camera in list(self.cameras.items()):
            camera.passed(seq)
            if (deadline := camera.deadline()) is not None and deadline <= at:
                yield name, self._work(name, lambda c: c.due(at))
        yield from self._relieve(at)
        yield from self.passes.due(at)

    def unused(self, before: int) -> list[str]:
        """Return unlisted cameras that are idle since a sequence in EVENTS: nothing of them is read again."""
        self._unlisted = {name for name in self.cameras if not self._is_listed(name)}
        return [
            name
            for name in sorted(self._unlisted)
            if (camera := self.cameras[name]).reached < before
            and camera.is_idle()
            and not (name in self.said or name in self.passes.said or self.passes.of(name))
        ]

    def is_unlisted(self, camera: str) -> bool:
        """Whether it has a place that is not its own."""
        return camera in self._unlisted

    def forget(self, camera: str) -> None:
        """Drop the state of a camera."""
        del self.cameras[camera]
        self._unlisted.discard(camera)
        self.changed.discard(camera)
        self.passes.changed.discard(camera)

    def _add(self, name: str, state: CameraState | None = None) -> None:
        self.cameras[name] = CameraAnalytics(name, self._limits, self._rules_of(name), state)
        if not self._is_listed(name):
            self._unlisted.add(name)

    def _has_place(self, name: str) -> bool:
        return name in self.cameras or len(self._unlisted) < self.budget.unlisted or self._is_listed(name)

    def _relieve(self, at: float) -> Iterator[tuple[str, Outs]]:
        """(camera, what follows), where cameras wait no longer as too much waits; the one with most goes first."""
        waiting = {name: camera.waiting_bytes for name, camera in self.cameras.items() if camera.waiting_bytes}
        total = sum(waiting.values())
        for name in sorted(waiting, key=lambda name: (-waiting[name], name)):
            if total <= self.budget.waiting_bytes:
                return
            total -= waiting[name]
            metrics.DROPPED.labels("waiting").inc()
            self._log.warning("a camera waits for no missing segment: too much waits", camera=name, bytes=waiting[name])
            yield name, self._work(name, lambda c: c.hurry(at))

    def first_needed(self) -> int:
        """The sequence from which a successor must read, once all states are stored."""
        held = (min(state.held) for c in self.cameras.values() if (state := c.state()).held)
        return min([self.position, *held])

    def said_of(self, camera: str, id: str = "") -> PublishedIds:
        """What was said of a camera after the checkpoint, and follows once more: of the pass that says `id`."""
        return (self.passes.said if is_second_pass(id) else self.said).get(camera, NOTHING)

    def recall(self, camera: str, id: str, seq: int) -> None:
        """EVENTS has something of a camera, at a sequence: if that came after the checkpoint, it follows once more."""
        if seq > self.told:
            (self.passes.said if is_second_pass(id) else self.said).setdefault(camera, PublishedIds()).note(id, seq)

    def first_untold(self) -> int:
        """The sequence from which EVENTS has all that is said from now on, and what was said and follows once more."""
        now = max(self.position, self.told + 1)
        follow = chain(self.said.values(), self.passes.said.values())
        return min((said.first() for said in follow if said), default=now)

    def advance(self, position: int) -> None:
        """All that follows from EVENTS before `position` has been said."""
        self.position = max(self.position, position)
        for said in self.said.values():
            said.forget(self.position)
        self.said = {camera: said for camera, said in self.said.items() if said}
        self.passes.forget_said(self.position)

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


def _cut(event: Detections, objects: int) -> Detections:
    """The event without the frames after so many objects."""
    counts = accumulate((len(frame.objects) for frame in event.frames), initial=0)
    frames = [frame for frame, before in zip(event.frames, counts, strict=False) if before < objects]
    return event if len(frames) == len(event.frames) else replace(event, frames=frames)


_COUNTERS = (
    metrics.READ.labels("taken"),
    metrics.READ.labels("late"),
    metrics.READ.labels("repeated"),
    metrics.GAPS,
    metrics.OBJECTS,
    metrics.SUPPRESSED,
)


def _counts(camera: CameraAnalytics) -> tuple[int, ...]:
    order = camera.order
    return camera.taken, order.late, order.repeated, order.gaps, camera.objects, camera.incidents.suppressed
