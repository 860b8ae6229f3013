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

from collections.abc import Callable, Iterator, Mapping
from itertools import accumulate
from typing import ClassVar, NamedTuple

import msgspec
from msgspec.structs import replace

from services.analytics import metrics
from services.analytics.camera.camera import CameraAnalytics, FailedSegment
from services.analytics.camera.state import MAX_OBJECTS_IN_SEGMENT, CameraState
from services.analytics.camera.statements import Outs
from services.analytics.limits import WHOLE, Budget, Limits, ObjectRate
from services.analytics.partitions.extension import Extend, Extension
from services.analytics.partitions.published_ids import PublishedIds
from services.analytics.partitions.reading import EVERYTHING
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
    """Return the camera of an event's subject, or of a checkpoint's key."""
    return subject.rpartition(".")[2]


class Position(msgspec.Struct, frozen=True, kw_only=True):
    """Where a partition resumes. seq, verdicts: sequences in EVENTS of the next detections and the next verdicts.

    first_event: the sequence in EVENTS of the first event published after the checkpoint; 0 in those of 0.2.0.
    """

    seq: int
    verdicts: int
    first_event: int = msgspec.field(default=0, name="said")


class BadDetections(NamedTuple):
    """Detections that can't be processed, and why. seq: in EVENTS. stored: the message, if it is still available."""

    camera: str
    seq: int
    reason: str
    stored: Stored | None = None


class Partition:
    """See the module. changed: cameras that changed since the last checkpoint. bad: what is to be dead-lettered.

    position, verdicts: the sequences in EVENTS of the next detections and verdicts to read. last_published: the
    sequence of the last published event, or -1. published: ids published after the checkpoint, to be computed again.
    unlisted: cameras in the places for unlisted ones. budget: the partition's limits. rate: that of the process.
    kind, state_type: see `Extension`.
    """

    kind: ClassVar = "camera"
    state_type: ClassVar = CameraState

    def __init__(
        self,
        number: int,
        limits: Limits,
        rules_of: Callable[[str], Rules],
        is_listed: Callable[[str], bool] = lambda camera: True,
        budget: Budget = WHOLE,
        rate: ObjectRate | None = None,
        extend: Extend = Extension,
    ) -> None:
        self.number = number
        self.position = self.verdicts = 0
        self.last_published = -1
        self.published = PublishedIds()
        self.cameras: dict[str, CameraAnalytics] = {}
        self.changed: set[str] = set()
        self.bad: list[BadDetections] = []
        self.unlisted: set[str] = set()
        self.extension = extend(limits, self.cameras, rules_of)
        self.budget = budget
        self._rate = rate or ObjectRate()
        self._is_listed = is_listed
        self._ended: list[tuple[str, Outs]] = []  # of states that a checkpoint has dropped, until `due` returns them
        self._limits = limits
        self._rules_of = rules_of
        self._log = logger("analytics")

    def state(self, camera: str) -> CameraState:
        """Return the state of a camera to store."""
        return self.cameras[camera].state()

    def restore(self, camera: str, state: CameraState | None = None) -> None:
        """Add a camera, as its checkpoint has it."""
        self.cameras[camera] = CameraAnalytics(camera, self._limits, self._rules_of(camera), state)
        if not self._is_listed(camera):
            self.unlisted.add(camera)

    def restart(self, camera: str, problem: Exception | None = None) -> None:
        """Start a camera again whose state has no room, or can't be written, which is the `problem`."""
        if problem:
            self._log.error(
                "a camera's checkpoint can't be written: it begins again", camera=camera, problem=repr(problem)
            )
        metrics.DROPPED.labels("state").inc()
        self._ended.append((camera, self.cameras[camera].restart(forget_verdicts=True)))

    def use(self, camera: str, rules: Rules) -> Outs:
        """Apply a camera's changed rules."""
        if camera not in self.cameras:
            return []
        self.extension.use(camera, rules)
        return self._work(camera, lambda c: c.use(rules))

    def read(self, stored: Stored) -> Outs:
        """Read a message of `events.detections.*`."""
        name = camera_of(stored.subject)
        has_place = name in self.cameras or len(self.unlisted) < self.budget.unlisted or self._is_listed(name)
        if not has_place:
            metrics.READ.labels("unlisted").inc()
            return []
        try:
            event = events.decode(stored.data, Detections, stored.subject)
        except BadMessage as e:
            metrics.READ.labels("unreadable").inc()
            self.bad.append(BadDetections(name, stored.seq, redact(str(e), LONGEST_REASON), stored))
            return []
        if name not in self.cameras:
            self.restore(name)
        at = stored.time.timestamp()
        objects = min(MAX_OBJECTS_IN_SEGMENT, sum(len(frame.objects) for frame in event.frames))
        if name in self.unlisted or not self._rate.allows(name, objects, at):
            event = _cut(event, FEW_OBJECTS)
        self.extension.read(name, stored, event)
        return self._work(name, lambda c: c.read(stored.seq, event, at), stored)

    def verdict(self, verdict: Verdict, at: float) -> Outs:
        """Apply a vision language model's verdict about one of its cameras. at: when it was stored."""
        camera = self.cameras.get(verdict.camera)
        if camera is None:
            return []
        live = verdict.incident in camera.analysis.incidents.state.pending
        outs = self._work(verdict.camera, lambda c: c.verdict(verdict, at))
        return outs if live else outs + self.extension.verdict(verdict)

    def refused(self, camera: str, incident: str) -> Outs:
        """Mark an incident unverified: VLM has not taken its request."""
        if (outs := self.extension.refused(camera, incident)) is not None:
            return outs
        return self._work(camera, lambda c: c.refused(incident)) if camera in self.cameras else []

    def due(self, at: float, seq: int = EVERYTHING) -> Iterator[tuple[str, Outs]]:
        """Yield (camera, results of deadlines), once all that was stored until `at`, up to `seq`, has been read."""
        yield from self._ended
        self._ended = []
        for name, camera in list(self.cameras.items()):
            camera.mark_read(seq)
            if (deadline := camera.deadline()) is not None and deadline <= at:
                yield name, self._work(name, lambda c: c.due(at))
        for name in _over_budget(self.cameras, self.budget.waiting_bytes):
            metrics.DROPPED.labels("waiting").inc()
            self._log.warning(
                "a camera waits for no missing segment: too much waits",
                camera=name,
                bytes=self.cameras[name].waiting_bytes,
            )
            yield name, self._work(name, lambda c: c.give_up_missing(at))
        yield from self.extension.due(at)

    def unused(self, before: int) -> list[str]:
        """Return unlisted cameras that are idle since a sequence in EVENTS: nothing of them is read again."""
        self.unlisted = {name for name in self.cameras if not self._is_listed(name)}
        return [
            name
            for name in sorted(self.unlisted)
            if (camera := self.cameras[name]).reached < before
            and camera.is_idle()
            and not (name in self.published or name in self.extension.published or self.extension.has(name))
        ]

    def forget(self, camera: str) -> None:
        """Drop the state of a camera."""
        del self.cameras[camera]
        self.unlisted.discard(camera)
        self.changed.discard(camera)
        self.extension.changed.discard(camera)

    def resume_at(self) -> Position:
        """Return where a successor resumes, once all states are stored."""
        rereads = (min(state.waiting) for c in self.cameras.values() if (state := c.state()).waiting)
        # From here on, EVENTS has all later events, and those published but not computed again yet.
        unchecked = self.published.seqs() + self.extension.published.seqs()
        first_event = min(unchecked, default=max(self.position, self.last_published + 1))
        return Position(seq=min([self.position, *rereads]), verdicts=self.verdicts, first_event=first_event)

    def published_by(self, id: str) -> PublishedIds:
        """Return the ids of the analysis that publishes `id`."""
        return self.extension.published if self.extension.owns(id) else self.published

    def advance(self, position: int) -> None:
        """Move on to `position`: all that follows from EVENTS before it has been published."""
        self.position = max(self.position, position)
        self.published.forget(self.position)
        self.extension.advance(self.position)

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
                self._log.error("analysis failed: the camera's tracks end", camera=name, exc_info=e)
            outs = camera.restart()
        for seq, error in camera.failed:
            self._log.error(
                "analysis of a segment failed: the camera's tracks end", camera=name, seq=seq, exc_info=error
            )
            metrics.READ.labels("failed").inc()
            message = stored if stored and stored.seq == seq else None
            self.bad.append(
                BadDetections(name, seq, f"analytics failed on it: {redact(repr(error), LONGEST_REASON)}", message)
            )
        camera.failed.clear()
        for counter, more in zip(_COUNTERS, (b - a for a, b in zip(before, _counts(camera), strict=True)), strict=True):
            counter.inc(more)
        return outs


def _over_budget(cameras: Mapping[str, CameraAnalytics], most: int) -> Iterator[str]:
    """Yield cameras that must stop waiting, as too much waits; the one with most bytes first."""
    waiting = {name: camera.waiting_bytes for name, camera in cameras.items() if camera.waiting_bytes}
    total = sum(waiting.values())
    for name in sorted(waiting, key=lambda name: (-waiting[name], name)):
        if total <= most:
            return
        total -= waiting[name]
        yield name


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
    return (
        camera.processed,
        order.late,
        order.repeated,
        order.gaps,
        camera.analysis.objects,
        camera.analysis.incidents.suppressed,
    )
