"""All of one camera: detections in, tracks, incidents, counts and questions out. Pure: no clock, no I/O.

    camera = CameraAnalytics("lobby", limits, rules)
    for out in camera.read(seq, event, at): ...      # in whatever order the events come
    for out in camera.due(at): ...                   # all that was stored until then has been read
    camera.state()                                   # plain data: given to another CameraAnalytics, that goes on

What comes out depends on the events, the rules and the times given alone, never on when or where it is worked out. So
a replica that takes over says what the other would have said, under the same ids, and what was said twice is dropped.
"""

from __future__ import annotations

import datetime as dt
import re
import zlib
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from services.analytics import conditions, counts, statements
from services.analytics.conditions import ObservedScene
from services.analytics.following import Ended, Following
from services.analytics.incidents import Incidents, IncidentsState, Ref
from services.analytics.order import Order
from services.analytics.state import TUNING, CameraState, Limits
from services.analytics.statements import Out, Outs
from shared.contract.events import Detections, Frame, SegmentRef, Verdict, encode
from shared.contract.rules import Rules

# What no epoch of ingest has.
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
        """Hold the event compressed: decoded, it takes 4 to 11 times as much."""
        if self._event:
            self._packed = zlib.compress(encode(self._event), 1)
            self._event = None


class FailedSegment(NamedTuple):
    """Detections that analytics failed on. seq: in EVENTS."""

    seq: int
    error: Exception


class CameraAnalytics:
    """See the module. taken, objects: how many segments were worked on, and how many tracks have begun.

    failed: what could not be worked on. waiting_bytes: of segments that wait for a missing one, compressed.
    """

    def __init__(self, name: str, limits: Limits, rules: Rules, state: CameraState | None = None) -> None:
        self.name = name
        self.taken = self.objects = self.waiting_bytes = 0
        self.failed: list[FailedSegment] = []
        self._limits = limits
        self._s = state or CameraState()
        self.order: Order[Arrival] = Order(limits.reorder_s, self._s.place)
        self._held = set(self._s.held)
        self.incidents = Incidents(name, limits.verify_s, self._s.incidents)
        self._following = Following(self._s, limits.lost_s)
        self._adopt(rules)

    def state(self) -> CameraState:
        """The state as it is now. It must be stored before anything else is read."""
        # Segments that are still to be read again count as held too.
        self._s.held = sorted(self._held | {a.seq for a in self.order.held()})
        return self._s

    @property
    def reached(self) -> int:
        """The sequence in EVENTS up to which all was read."""
        return self._s.seq

    def anew(self, *, unasked: bool = False) -> Outs:
        """Go on after an error of ours: what was followed has ended, and is forgotten.

        unasked: forget which incidents wait for a verdict, too.
        """
        s, suppressed = self._s, self.incidents.suppressed
        try:
            outs = self._idle(s.heard)
        except Exception:  # the second time: nothing can be said of it
            outs = []
        asked = IncidentsState(asked={} if unasked else s.incidents.asked, set_backs=s.incidents.set_backs)
        self._s = CameraState(
            seq=s.seq,
            place=s.place,
            born=s.born,
            count=s.count,
            incidents=asked,
            heard=s.heard,
            model=s.model,
            again=s.again,
        )
        self.incidents = Incidents(self.name, self._limits.verify_s, asked)
        self.incidents.suppressed = suppressed
        self._following = Following(self._s, self._limits.lost_s)
        return outs

    def use(self, rules: Rules) -> Outs:
        """Other rules, from the next segment on. What rules that are gone had begun has ended."""
        self._adopt(rules)
        return self._told("rules")

    def _adopt(self, rules: Rules) -> None:
        ids = {r.id for r in rules.rules}
        self.incidents.end_all(keep=ids)
        self.incidents.forget(ids)
        self._following.keep_places(rules)
        self._rules = rules
        self._timezone = rules.zone_info()

    def read(self, seq: int, event: Detections, at: float) -> Outs:
        """An event of detections, and what was waited for until then. seq: in EVENTS. at: when it was stored there."""
        self.passed(seq - 1)
        again = seq <= self._s.seq
        if again and seq not in self._held:
            return []
        outs = self.due(at)
        self._held.discard(seq)
        self._s.seq = max(self._s.seq, seq)
        ref = event.segment
        start = event.start.timestamp()
        arrival = Arrival(seq, event)
        ready = self.order.push(ref.epoch, ref.n, seq=ref.seq, start=start, at=at, item=arrival, again=again)
        if arrival not in ready:
            arrival.pack()
        outs += [out for arrival in ready for out in self._work(arrival, at)]
        self._weigh()
        return outs

    def hurry(self, at: float) -> Outs:
        """Wait for no missing segment any longer."""
        outs = [out for arrival in self.order.give_up_all() for out in self._work(arrival, at)]
        self._weigh()
        return outs

    def is_idle(self) -> bool:
        """Whether there is nothing left that a later event could continue."""
        return not (self._s.heard or self._held or self.order.held() or self.incidents.state.asked)

    def _weigh(self) -> None:
        self.waiting_bytes = sum(arrival.size for arrival in self.order.held())

    def deadline(self) -> float | None:
        """When `due` has something to do."""
        times = [t for t in (self.order.deadline(), self.incidents.deadline(), self._idle_at()) if t is not None]
        return min(times, default=None)

    def due(self, at: float) -> Outs:
        """All that was stored until `at` has been read: what is missing is given up, verdicts are overdue, and there
        may be no more video. Each has its own time, so that it does not matter how often this is asked.
        """
        outs: Outs = []
        # What was held is still to be read again: until then nothing is known to be missing.
        while not self._held and (deadline := self.deadline()) is not None and deadline <= at:
            for arrival in self.order.due(deadline):
                outs += self._work(arrival, deadline)
            self.incidents.due(deadline)
            outs += self._told("overdue")
            if self._idle_at() == deadline:
                self._s.heard = 0.0
                outs += self._idle(deadline)
            self._weigh()
        return outs

    def passed(self, seq: int) -> None:
        """All of EVENTS up to a sequence has been read: what was held of it and did not come again is gone."""
        if self._held:
            self._held = {held for held in self._held if held > seq}

    def _idle_at(self) -> float | None:
        return self._s.heard + self._limits.idle_s + self._limits.reorder_s if self._s.heard else None

    def verdict(self, said: Verdict, at: float) -> Outs:
        """A vision language model has answered. at: when that was stored."""
        outs = self.due(at)
        self.incidents.verdict(said)
        return [*outs, *self._told("verdict")]

    def refused(self, incident: str) -> Outs:
        """VLM did not take the question about an incident."""
        self.incidents.refused(incident)
        return self._told("refused")

    # ---- a segment

    def _work(self, arrival: Arrival, at: float) -> Outs:
        """What a segment brings. One that analytics fails on ends what is followed, and harms no other segment."""
        try:
            return self._segment(arrival.event, at)
        except Exception as e:
            self.failed.append(FailedSegment(arrival.seq, e))
            return self.anew()

    def _segment(self, event: Detections, at: float) -> Outs:
        s = self._s
        ref = event.segment
        start = event.start.timestamp()
        if s.again:
            s.born, s.count = f"settled-{_born(ref)}", 0
        s.born = s.born or _born(ref)
        s.heard = at
        self.taken += 1
        s.model = event.model
        s.width, s.height = event.width, event.height
        s.trail.append(Ref(ref.stream, ref.seq, ref.epoch, ref.n, start, start + event.duration))
        s.trail = [r for r in s.trail[-TUNING.most_trail :] if r.end > start - TUNING.trail_s]
        ended: Ended = []
        outs: Outs = []
        objects = 0
        for k, frame in enumerate(event.frames):
            if objects >= TUNING.most_in_segment:
                break
            objects += len(frame.objects)
            outs += self._frame(frame, ended, at, before=s.trail[:-1] if k == 0 else s.trail)
        tracks = statements.tracks(self.name, s, self._limits, event, ended)
        return [*tracks, *outs, *self._told(f"{ref.epoch}.{ref.n}")]

    def _frame(self, frame: Frame, ended: Ended, at: float, before: Sequence[Ref]) -> Outs:
        """What a frame brings. ended: takes the objects that it ends. before: the segments of the frames before it."""
        s = self._s
        time = frame.time.timestamp()
        last = s.frames[-1] if s.frames else None
        outs: Outs = []
        if last is not None and time <= last:
            if last - time < TUNING.back_s:
                return []
            outs += self._finish(ended, at, before)
            self.incidents.begin_anew()
            s.frames, s.trail = [], s.trail[-1:]
        # Where an object is seen again, all frames since then are filled in, those from before a gap in the video too.
        oldest = min((o.last for o in s.followed.values()), default=time)
        s.frames = [*(t for t in s.frames if t > oldest), time]
        if s.looked is not None and (time - s.looked) * self._limits.fps < TUNING.early_enough:
            return outs
        s.looked = time
        passages, gone = self._following.see(time, frame, self._rules)
        ended += gone
        objects = self._following.confirmed()
        fresh = [o for o in objects if o.seen == TUNING.least_seen and o.last == time]
        self.objects += len(fresh)
        self._judge(ObservedScene(time, s.aspect, objects, passages), at, s.trail)
        s.minute, over = counts.count(s.minute, time, objects, fresh, passages, list(self._rules.zones))
        return [*outs, self._count(over)] if over else outs

    def _judge(self, scene: ObservedScene, at: float, trail: Sequence[Ref], *, final: bool = False) -> None:
        """What rules make of a frame. final: no frame comes after it, and only what has passed is known."""
        now = dt.datetime.fromtimestamp(scene.time, self._timezone)
        for rule in self._rules.rules:
            schedule = self._rules.schedules.get(rule.schedule or "")
            holds = (schedule is None or schedule.holds(now)) and (rule.momentary or not final)
            true = conditions.cases(rule, scene) if holds else {}
            left, undone = conditions.left(rule, scene), conditions.undone(rule, scene)
            self.incidents.judge(rule, true, scene.time, trail, at, left=left, undone=undone, final=final)

    def _finish(self, ended: Ended, at: float, trail: Sequence[Ref]) -> Outs:
        """Here a camera's time ends: what was there has left when it was last seen, and what lasts has ended."""
        s = self._s
        passages, gone = self._following.end_all()
        ended += gone
        if s.looked is not None and trail:
            self._judge(ObservedScene(s.looked, s.aspect, [], passages), at, trail, final=True)
            if s.minute:
                s.minute, _ = counts.count(s.minute, s.looked, [], [], passages, list(self._rules.zones))
        self.incidents.end_all()
        s.looked = None
        outs = [self._count(s.minute)] if s.minute else []
        s.minute = None
        return outs

    def _idle(self, at: float) -> Outs:
        """No more video comes."""
        ended: Ended = []
        minute = self._finish(ended, at, self._s.trail)
        told = self._told("idle")
        return [*statements.last_tracks(self.name, self._s, ended), *told, *minute]

    # ---- what is said of it

    def _count(self, minute: counts.Minute) -> Out:
        return statements.count(self.name, self._s, minute)

    def _told(self, cause: str) -> Outs:
        return statements.incidents(self.name, self.incidents.take(), cause)


def _born(ref: SegmentRef) -> str:
    """How the ids of tracks begin that are followed from a segment on."""
    # It becomes a part of a job's id, which takes no other characters.
    return f"{_UNUSUAL.sub('-', ref.epoch[: TUNING.epoch])}{ref.n}"
