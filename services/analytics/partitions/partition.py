"""A fixed share of all cameras, by their ids, owned by one process at a time. No I/O.

    partition = Partition(7, limits, rules_of, is_listed, budget)
    outs = partition.read(stored)
    for camera, outs in partition.due(at): ...

Time is the log's: when a message was stored. A camera's earlier deadlines are applied first, each at its own time. So
the results are the same, whichever process reads it and whenever.

Memory has a budget, as any publisher of detections can invent cameras. A listed camera, which has an entry or rules,
always has a place. Others take free places in the order they come, and leave theirs once they are idle.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import accumulate, chain
from typing import NamedTuple

from msgspec.structs import replace

from services.analytics import metrics
from services.analytics.camera.camera import CameraAnalytics, FailedSegment
from services.analytics.camera.state import MAX_OBJECTS_IN_SEGMENT, CameraState
from services.analytics.camera.statements import Outs
from services.analytics.limits import WHOLE, Budget, Limits, ObjectRate
from services.analytics.partitions.published_ids import NO_IDS, PublishedIds
from services.analytics.partitions.reading import EVERYTHING
from services.analytics.second_pass.passes import Passes
from services.analytics.second_pass.state import SecondPassState, is_second_pass
from services.analytics.second_pass.versions import First
from shared.bus.direct import Stored
from shared.contract import events
from shared.contract.events import Detections, Verdict
from shared.contract.rules import Rules
from shared.runtime.errors import BadMessage
from shared.runtime.redact import redact
from shared.runtime.telemetry import logger

LONGEST_REASON = 500
# Only the frames up to this many objects are analysed, of unlisted cameras and of cameras over `ObjectRate`.
FEW_OBJECTS = 200


def camera_of(subject: str) -> str:
    """Return the camera of an event's subject."""
    return subject.rpartition(".")[2]


class BadDetections(NamedTuple):
    """Detections that can't be processed, and why. seq: in EVENTS. stored: the message, if it is still available."""

    camera: str
    seq: int
    reason: str
    stored: Stored | None = None


class Partition:
    """See the module. changed: cameras that changed since the last checkpoint. bad: what is to be dead-lettered.

    position, verdicts: the sequences in EVENTS of the next detections and verdicts to read. last_published: the
    sequence of the last published event, or -1. published: by camera, ids published after the checkpoint, to be
    computed again. ended: results of states that a checkpoint has dropped, by camera, until `due` returns them. passes:
    the second passes, of cameras with deferred frames. budget: the partition's limits. rate: that of the process.
    """

    def __init__(
        self,
        number: int,
        limits: Limits,
        rules_of: Callable[[str], Rules],
        is_listed: Callable[[str], bool] = lambda camera: True,
        budget: Budget = WHOLE,
        rate: ObjectRate | None = None,
    ) -> None:
        self.number = number
        self.position = self.verdicts = 0
        self.last_published = -1
        self.published: dict[str, PublishedIds] = {}
        self.cameras: dict[str, CameraAnalytics] = {}
        self.changed: set[str] = set()
        self.bad: list[BadDetections] = []
        self.ended: list[tuple[str, Outs]] = []
        self.passes = Passes(limits)
        self.budget = budget
        self._rate = rate or ObjectRate()
        self._is_listed = is_listed
        self._unlisted: set[str] = set()
        self._limits = limits
        self._rules_of = rules_of
        self._log = logger("analytics")

    def restore(self, camera: str, state: CameraState) -> None:
        """Restore a camera from its checkpoint."""
        self._add(camera, state)

    def restore_passes(self, camera: str, state: SecondPassState) -> None:
        """Restore a camera's second passes from their checkpoint, after the camera itself."""
        self.passes.restore(camera, state, self._rules_of(camera), self.cameras.get(camera))

    def use(self, camera: str, rules: Rules) -> Outs:
        """Apply a camera's changed rules."""
        if camera not in self.cameras:
            return []
        self.passes.use(self.cameras[camera], rules)
        return self._work(camera, lambda c: c.use(rules))

    def read(self, stored: Stored) -> Outs:
        """Read a message of `events.detections.*`."""
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
        objects = min(MAX_OBJECTS_IN_SEGMENT, sum(len(frame.objects) for frame in event.frames))
        if name in self._unlisted or not self._rate.allows(name, objects, at):
            event = _cut(event, FEW_OBJECTS)
        if event.quality:
            first = First(stored.seq, stored.headers.get("ce-id", ""), at, event)
            self.passes.defer(self.cameras[name], self._rules_of(name), first)
        outs = self._work(name, lambda c: c.read(stored.seq, event, at), stored)
        self.passes.read_live(name, stored.seq, at)
        return outs

    def verdict(self, verdict: Verdict, at: float) -> Outs:
        """Apply a vision language model's verdict about one of its cameras. at: when it was stored."""
        camera = self.cameras.get(verdict.camera)
        if camera is None:
            return []
        live = verdict.incident in camera.incidents.state.pending
        outs = self._work(verdict.camera, lambda c: c.verdict(verdict, at))
        return outs if live else outs + self.passes.verdict(verdict)

    def refused(self, camera: str, incident: str) -> Outs:
        """Mark an incident unverified: VLM has not taken its request."""
        if (outs := self.passes.refused(camera, incident)) is not None:
            return outs
        return self._work(camera, lambda c: c.refused(incident)) if camera in self.cameras else []

    def due(self, at: float, seq: int = EVERYTHING) -> Iterator[tuple[str, Outs]]:
        """Yield (camera, results of deadlines), once all that was stored until `at`, up to `seq`, has been read."""
        yield from self.ended
        self.ended = []
        for name, camera in list(self.cameras.items()):
            camera.mark_read(seq)
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
            and not (name in self.published or name in self.passes.published or self.passes.of(name))
        ]

    def is_unlisted(self, camera: str) -> bool:
        """Whether the camera takes one of the places for unlisted cameras."""
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
        """Yield (camera, results) of cameras that stop waiting as too much waits; the one with most bytes goes
        first.
        """
        waiting = {name: camera.waiting_bytes for name, camera in self.cameras.items() if camera.waiting_bytes}
        total = sum(waiting.values())
        for name in sorted(waiting, key=lambda name: (-waiting[name], name)):
            if total <= self.budget.waiting_bytes:
                return
            total -= waiting[name]
            metrics.DROPPED.labels("waiting").inc()
            self._log.warning("a camera waits for no missing segment: too much waits", camera=name, bytes=waiting[name])
            yield name, self._work(name, lambda c: c.give_up_missing(at))

    def first_needed(self) -> int:
        """Return the sequence from which a successor must read, once all states are stored."""
        rereads = (min(state.waiting) for c in self.cameras.values() if (state := c.state()).waiting)
        return min([self.position, *rereads])

    def published_ids(self, camera: str, id: str = "") -> PublishedIds:
        """Return ids published for a camera after the checkpoint and to be computed again, of the pass that publishes
        `id`.
        """
        return (self.passes.published if is_second_pass(id) else self.published).get(camera, NO_IDS)

    def recall(self, camera: str, id: str, seq: int) -> None:
        """Note an id that EVENTS has at a sequence: if it came after the checkpoint, it is computed again."""
        if seq > self.last_published:
            (self.passes.published if is_second_pass(id) else self.published).setdefault(camera, PublishedIds()).note(
                id, seq
            )

    def recall_start(self) -> int:
        """Return the sequence from which EVENTS has all later events, and those published but not computed
        again yet.
        """
        now = max(self.position, self.last_published + 1)
        published = chain(self.published.values(), self.passes.published.values())
        return min((ids.first() for ids in published if ids), default=now)

    def advance(self, position: int) -> None:
        """Move on to `position`: all that follows from EVENTS before it has been published."""
        self.position = max(self.position, position)
        for ids in self.published.values():
            ids.forget(self.position)
        self.published = {camera: ids for camera, ids in self.published.items() if ids}
        self.passes.forget_published(self.position)

    def _work(self, name: str, work: Callable[[CameraAnalytics], Outs], stored: Stored | None = None) -> Outs:
        """Call `work` with a camera, and count the results. A failure ends that camera's tracks and harms no other
        camera.

        stored: the message that it processes.
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
            outs = camera.restart()
        for seq, error in camera.failed:
            self._log.error("a segment could not be worked on", camera=name, seq=seq, exc_info=error)
            metrics.READ.labels("failed").inc()
            message = stored if stored and stored.seq == seq else None
            self.bad.append(
                BadDetections(name, seq, f"analytics failed on it: {redact(repr(error), LONGEST_REASON)}", message)
            )
        camera.failed.clear()
        for counter, more in zip(_COUNTERS, (b - a for a, b in zip(before, _counts(camera), strict=True)), strict=True):
            counter.inc(more)
        return outs


def _cut(event: Detections, objects: int) -> Detections:
    """Return the event without the frames after the first `objects` objects."""
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
    return camera.processed, order.late, order.repeated, order.gaps, camera.objects, camera.incidents.suppressed
