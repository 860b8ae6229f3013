"""All of one camera: from detections to tracks, incidents, counts and verification requests. Pure: no clock, no I/O.

    camera = CameraAnalytics("lobby", limits, rules)
    for out in camera.read(seq, event, at): ...      # events in any order
    for out in camera.due(at): ...                   # all that was stored until then has been read
    camera.state()                                   # plain data: another CameraAnalytics can resume from it

Results depend only on the events, the rules and the given times, never on when or where they are computed. So a replica
that takes over publishes the same events under the same ids, and duplicates are dropped.
"""

from __future__ import annotations

import datetime as dt
import re
import zlib
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from services.analytics.camera import statements
from services.analytics.camera.order import Order
from services.analytics.camera.state import (
    EARLY_SHARE,
    EPOCH_CHARACTERS,
    MAX_OBJECTS_IN_SEGMENT,
    MAX_TRAIL_SEGMENTS,
    STEP_BACK_S,
    TRAIL_S,
    CameraState,
)
from services.analytics.camera.statements import Out, Outs
from services.analytics.incidents.lifecycle import Incidents, IncidentsState, Ref
from services.analytics.limits import Limits
from services.analytics.rules import conditions
from services.analytics.rules.conditions import ObservedScene
from services.analytics.tracking import counts
from services.analytics.tracking.following import MIN_FRAMES_SEEN, Ended, Following
from shared.contract.events import Detections, Frame, SegmentRef, Verdict, encode
from shared.contract.rules import Rules

# Characters that no epoch of ingest has.
_UNUSUAL = re.compile(r"[^A-Za-z0-9_-]")


class Arrival:
    """Detections as they came, compressed while they wait. seq: in EVENTS. size: bytes, compressed."""

    __slots__ = ("_event", "_packed", "seq")

    def __init__(self, seq: int, event: Detections) -> None:
        self.seq = seq
        self._event: Detections | None = event
        self._packed = b""

    @property
    def size(self) -> int:
        return len(self._packed)

    @property
    def event(self) -> Detections:
        return self._event or msgspec.json.decode(zlib.decompress(self._packed), type=Detections)

    def pack(self) -> None:
        """Compress the event: decoded, it takes 4 to 11 times as much memory."""
        if self._event:
            self._packed = zlib.compress(encode(self._event), 1)
            self._event = None


class FailedSegment(NamedTuple):
    """Detections that analytics failed on. seq: in EVENTS."""

    seq: int
    error: Exception


class CameraAnalytics:
    """See the module. processed, objects: number of processed segments, and of tracks begun.

    failed: segments that could not be processed. waiting_bytes: of segments that wait for a missing one, compressed.
    """

    def __init__(self, name: str, limits: Limits, rules: Rules, state: CameraState | None = None) -> None:
        self.name = name
        self.processed = self.objects = self.waiting_bytes = 0
        self.failed: list[FailedSegment] = []
        self._limits = limits
        self._s = state or CameraState()
        self.order: Order[Arrival] = Order(limits.reorder_s, self._s.place)
        self._rereads = set(self._s.waiting)
        self.incidents = Incidents(name, limits.verify_s, self._s.incidents)
        self._following = Following(self._s, limits.lost_s)
        self._adopt(rules)

    def state(self) -> CameraState:
        """Return the current state. It must be stored before anything else is read."""
        # Segments that are still to be read again are stored as waiting too.
        self._s.waiting = sorted(self._rereads | {a.seq for a in self.order.waiting()})
        return self._s

    @property
    def reached(self) -> int:
        """The sequence in EVENTS up to which everything was read."""
        return self._s.seq

    def restart(self, *, forget_verdicts: bool = False) -> Outs:
        """Start again after an internal error: end and forget all tracks.

        forget_verdicts: also forget which incidents wait for a verdict.
        """
        s, suppressed = self._s, self.incidents.suppressed
        try:
            outs = self._idle(s.last_active)
        except Exception:  # failed twice: no result is possible
            outs = []
        incidents = IncidentsState(
            pending={} if forget_verdicts else s.incidents.pending, set_backs=s.incidents.set_backs
        )
        self._s = CameraState(
            seq=s.seq,
            place=s.place,
            id_prefix=s.id_prefix,
            count=s.count,
            incidents=incidents,
            last_active=s.last_active,
            model=s.model,
            is_second_pass=s.is_second_pass,
        )
        self.incidents = Incidents(self.name, self._limits.verify_s, incidents)
        self.incidents.suppressed = suppressed
        self._following = Following(self._s, self._limits.lost_s)
        return outs

    def use(self, rules: Rules) -> Outs:
        """Apply other rules from the next segment on. Incidents of removed rules end."""
        self._adopt(rules)
        return self._take_incidents("rules")

    def _adopt(self, rules: Rules) -> None:
        ids = {r.id for r in rules.rules}
        self.incidents.end_all(keep=ids)
        self.incidents.forget(ids)
        self._following.keep_places(rules)
        self._rules = rules
        self._timezone = rules.zone_info()

    def read(self, seq: int, event: Detections, at: float) -> Outs:
        """Read an event of detections; process the segments that are in order now. seq: in EVENTS. at: when it was
        stored.
        """
        self.mark_read(seq - 1)
        is_reread = seq <= self._s.seq
        if is_reread and seq not in self._rereads:
            return []
        outs = self.due(at)
        self._rereads.discard(seq)
        self._s.seq = max(self._s.seq, seq)
        ref = event.segment
        start = event.start.timestamp()
        arrival = Arrival(seq, event)
        ready = self.order.push(ref.epoch, ref.n, seq=ref.seq, start=start, at=at, item=arrival, is_reread=is_reread)
        if arrival not in ready:
            arrival.pack()
        outs += [out for arrival in ready for out in self._process(arrival, at)]
        self._weigh()
        return outs

    def give_up_missing(self, at: float) -> Outs:
        """Stop waiting for missing segments."""
        outs = [out for arrival in self.order.give_up_all() for out in self._process(arrival, at)]
        self._weigh()
        return outs

    def is_idle(self) -> bool:
        """Whether nothing is left that a later event could continue."""
        return not (self._s.last_active or self._rereads or self.order.waiting() or self.incidents.state.pending)

    def _weigh(self) -> None:
        self.waiting_bytes = sum(arrival.size for arrival in self.order.waiting())

    def deadline(self) -> float | None:
        """Return when `due` has something to do."""
        times = [t for t in (self.order.deadline(), self.incidents.deadline(), self._idle_at()) if t is not None]
        return min(times, default=None)

    def due(self, at: float) -> Outs:
        """Apply all deadlines until `at`, once everything stored until then has been read.

        Missing segments are given up, verdicts become overdue, and the video may have ended. Each deadline is applied
        at its own time, so that the frequency of calls does not matter.
        """
        outs: Outs = []
        # Restored segments are still to be read again: until then nothing is known to be missing.
        while not self._rereads and (deadline := self.deadline()) is not None and deadline <= at:
            for arrival in self.order.due(deadline):
                outs += self._process(arrival, deadline)
            self.incidents.due(deadline)
            outs += self._take_incidents("overdue")
            if self._idle_at() == deadline:
                self._s.last_active = 0.0
                outs += self._idle(deadline)
            self._weigh()
        return outs

    def mark_read(self, seq: int) -> None:
        """Note that EVENTS has been read up to a sequence: restored segments before it that did not come again are
        lost.
        """
        if self._rereads:
            self._rereads = {n for n in self._rereads if n > seq}

    def _idle_at(self) -> float | None:
        return self._s.last_active + self._limits.idle_s + self._limits.reorder_s if self._s.last_active else None

    def verdict(self, verdict: Verdict, at: float) -> Outs:
        """Apply a vision language model's verdict. at: when it was stored."""
        outs = self.due(at)
        self.incidents.verdict(verdict)
        return [*outs, *self._take_incidents("verdict")]

    def refused(self, incident: str) -> Outs:
        """Mark an incident unverified: VLM did not take its request."""
        self.incidents.refused(incident)
        return self._take_incidents("refused")

    # ---- a segment

    def _process(self, arrival: Arrival, at: float) -> Outs:
        """Analyse a segment. A failure ends this camera's tracks and harms no other segment."""
        try:
            return self._analyse_segment(arrival.event, at)
        except Exception as e:
            self.failed.append(FailedSegment(arrival.seq, e))
            return self.restart()

    def _analyse_segment(self, event: Detections, at: float) -> Outs:
        s = self._s
        ref = event.segment
        start = event.start.timestamp()
        if s.is_second_pass:
            s.id_prefix, s.count = f"settled-{_born(ref)}", 0
        s.id_prefix = s.id_prefix or _born(ref)
        s.last_active = at
        self.processed += 1
        s.model = event.model
        s.width, s.height = event.width, event.height
        s.trail.append(Ref(ref.stream, ref.seq, ref.epoch, ref.n, start, start + event.duration))
        s.trail = [r for r in s.trail[-MAX_TRAIL_SEGMENTS:] if r.end > start - TRAIL_S]
        ended: Ended = []
        outs: Outs = []
        objects = 0
        for k, frame in enumerate(event.frames):
            if objects >= MAX_OBJECTS_IN_SEGMENT:
                break
            objects += len(frame.objects)
            outs += self._analyse_frame(frame, ended, at, before=s.trail[:-1] if k == 0 else s.trail)
        tracks = statements.tracks(self.name, s, self._limits, event, ended)
        return [*tracks, *outs, *self._take_incidents(f"{ref.epoch}.{ref.n}")]

    def _analyse_frame(self, frame: Frame, ended: Ended, at: float, before: Sequence[Ref]) -> Outs:
        """Analyse a frame. ended: receives the objects that it ends. before: the segments of the frames before it."""
        s = self._s
        time = frame.time.timestamp()
        last = s.frames[-1] if s.frames else None
        outs: Outs = []
        if last is not None and time <= last:
            if last - time < STEP_BACK_S:
                return []
            outs += self._finish(ended, at, before)
            self.incidents.reset()
            s.frames, s.trail = [], s.trail[-1:]
        # When an object is seen again, all frames since are filled in, also those from before a gap in the video.
        oldest = min((o.last for o in s.followed.values()), default=time)
        s.frames = [*(t for t in s.frames if t > oldest), time]
        if s.last_frame_time is not None and (time - s.last_frame_time) * self._limits.fps < EARLY_SHARE:
            return outs
        s.last_frame_time = time
        passages, lost = self._following.see(time, frame, self._rules)
        ended += lost
        objects = self._following.confirmed()
        fresh = [o for o in objects if o.hits == MIN_FRAMES_SEEN and o.last == time]
        self.objects += len(fresh)
        self._judge(ObservedScene(time, s.aspect, objects, passages), at, s.trail)
        s.minute, over = counts.count(s.minute, time, objects, fresh, passages, list(self._rules.zones))
        return [*outs, self._count(over)] if over else outs

    def _judge(self, scene: ObservedScene, at: float, trail: Sequence[Ref], *, final: bool = False) -> None:
        """Apply the rules to a frame. final: no frame comes after it, and only what has passed is known."""
        now = dt.datetime.fromtimestamp(scene.time, self._timezone)
        for rule in self._rules.rules:
            schedule = self._rules.schedules.get(rule.schedule or "")
            holds = (schedule is None or schedule.holds(now)) and (rule.momentary or not final)
            matches = conditions.cases(rule, scene) if holds else {}
            left, undone = conditions.left(rule, scene), conditions.undone(rule, scene)
            self.incidents.judge(rule, matches, scene.time, trail, at, left=left, undone=undone, final=final)

    def _finish(self, ended: Ended, at: float, trail: Sequence[Ref]) -> Outs:
        """End the camera's timeline: objects left when they were last seen, and lasting incidents end."""
        s = self._s
        passages, lost = self._following.end_all()
        ended += lost
        if s.last_frame_time is not None and trail:
            self._judge(ObservedScene(s.last_frame_time, s.aspect, [], passages), at, trail, final=True)
            if s.minute:
                s.minute, _ = counts.count(s.minute, s.last_frame_time, [], [], passages, list(self._rules.zones))
        self.incidents.end_all()
        s.last_frame_time = None
        outs = [self._count(s.minute)] if s.minute else []
        s.minute = None
        return outs

    def _idle(self, at: float) -> Outs:
        """End everything: no more video comes."""
        ended: Ended = []
        minute = self._finish(ended, at, self._s.trail)
        incidents = self._take_incidents("idle")
        return [*statements.last_tracks(self.name, self._s, ended), *incidents, *minute]

    # ---- results

    def _count(self, minute: counts.Minute) -> Out:
        return statements.count(self.name, self._s, minute)

    def _take_incidents(self, cause: str) -> Outs:
        return statements.incidents(self.name, self.incidents.take(), cause)


def _born(ref: SegmentRef) -> str:
    """Return the prefix of the ids of tracks followed from a segment on."""
    # It becomes a part of a job's id, which takes no other characters.
    return f"{_UNUSUAL.sub('-', ref.epoch[:EPOCH_CHARACTERS])}{ref.n}"
