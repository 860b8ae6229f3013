"""All of one camera: detections in, tracks, incidents, counts and questions out. Pure: no clock, no I/O.

    camera = Camera("lobby", limits, rules)
    for out in camera.read(seq, event, at): ...      # in whatever order the events come
    for out in camera.due(at): ...                   # all that was stored until then has been read
    camera.state()                                   # plain data; Camera("lobby", limits, rules, state) goes on

What comes out depends on the events, the rules and the times given alone, never on when or where it is worked out: so
a replica that takes over says what the other would have said, under the same ids, and what was said twice is dropped.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeAlias

import msgspec

from services.analytics import conditions, counts, geometry, places
from services.analytics.conditions import Scene
from services.analytics.counts import Minute
from services.analytics.incidents import Incidents, Ref, instant
from services.analytics.incidents import State as IncidentsState
from services.analytics.objects import Box, Followed, Spot, anchor
from services.analytics.order import Order, Place
from services.analytics.places import Before, Passage
from services.analytics.rules import Rules
from services.analytics.tracker import Detected, Tracker
from services.analytics.tracker import State as TrackerState
from shared.contract import jobs
from shared.contract.events import (
    Alert,
    Detections,
    Event,
    Frame,
    Incident,
    PathPoint,
    SegmentRef,
    Track,
    Tracks,
    Verdict,
)

# Frames that an object must be seen in to be one: a weak detector sees much once.
LEAST_SEEN = 2
# Evidence of what is held or lasts reaches back so far.
TRAIL_S, TRAIL = 600.0, 600
# Of a camera that tells no size.
ASPECT = 16 / 9
# A clock that is set back by more is another time; by less, its frames are left out until it has caught up.
BACK_S = 1.0
# Of a frame's objects, the likeliest: to match more would hold up others. A box of less is none: a thousandth of a
# pixel.
MOST_IN_FRAME, NOTHING = 300, 1e-9
# Of a track's path that waits to be told: it has to fit into a checkpoint, and into an event.
MOST_PATH = 200
# Of an epoch, in the ids of tracks.
EPOCH = 12
# Frames tremble in time: one that comes by a tenth too soon is looked at.
NEARLY = 0.9


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """reorder_s: how long a missing segment is waited for. fps: of frames that are looked at, at most; what is between
    them is filled in. lost_s: how long an object may be unseen. update_s: between events of a track. idle_s: without
    video, everything has ended. verify_s: how long a verdict is waited for.
    """

    reorder_s: float = 15.0
    fps: float = 5.0
    lost_s: float = 2.0
    update_s: float = 2.0
    idle_s: float = 30.0
    verify_s: float = 600.0


class State(msgspec.Struct):
    """What a restart must find again. seq: in EVENTS, up to which it was read. held: of what waits in `Order`.

    born: begins the ids of its tracks. count: how many there were. followed: by the tracker's number. frames: times of
    those since any of them was last seen. looked: of the last that was looked at. heard: when its last segment's turn
    came; 0 once it has been found idle.
    """

    seq: int = 0
    held: list[int] = []
    place: Place = msgspec.field(default_factory=Place)
    born: str = ""
    count: int = 0
    tracker: TrackerState = msgspec.field(default_factory=TrackerState)
    followed: dict[int, Followed] = {}
    incidents: IncidentsState = msgspec.field(default_factory=IncidentsState)
    minute: Minute | None = None
    trail: list[Ref] = []
    frames: list[float] = []
    looked: float | None = None
    heard: float = 0.0
    width: int | None = None
    height: int | None = None
    model: str = ""

    @property
    def aspect(self) -> float:
        return self.width / self.height if self.width and self.height else ASPECT


class Out(NamedTuple):
    """What is to be published: an event under its id, or a question to a vision language model."""

    what: Event | jobs.Verify
    id: str


class Arrival(NamedTuple):
    """seq: in EVENTS."""

    seq: int
    event: Detections


Outs: TypeAlias = list[Out]


class Failure(NamedTuple):
    """seq: in EVENTS."""

    seq: int
    error: Exception


class Camera:
    """See the module. taken, objects: how many segments were worked on, and how many tracks have begun.

    failed: what could not be worked on.
    """

    def __init__(self, name: str, limits: Limits, rules: Rules, state: State | None = None) -> None:
        self.name = name
        self.taken = self.objects = 0
        self.failed: list[Failure] = []
        self._limits = limits
        self._s = state or State()
        self.order: Order[Arrival] = Order(limits.reorder_s, self._s.place)
        self._held = set(self._s.held)
        self.incidents = Incidents(name, limits.verify_s, self._s.incidents)
        self._tracker = Tracker(limits.lost_s, self._s.tracker)
        self._adopt(rules)

    def state(self) -> State:
        """As it is now: to be stored before anything else is read."""
        # Those that are still to be read again are held no less.
        self._s.held = sorted(self._held | {a.seq for a in self.order.held()})
        return self._s

    def anew(self, *, unasked: bool = False) -> Outs:
        """Go on and know nothing any more of what was followed, which has ended: after an error of ours.

        unasked: nor of what waits for a verdict.
        """
        s, suppressed = self._s, self.incidents.suppressed
        try:
            outs = self._idle(s.heard)
        except Exception:  # the second time: nothing can be said of it
            outs = []
        asked = IncidentsState(asked={} if unasked else s.incidents.asked, set_backs=s.incidents.set_backs)
        self._s = State(
            seq=s.seq, place=s.place, born=s.born, count=s.count, incidents=asked, heard=s.heard, model=s.model
        )
        self.incidents = Incidents(self.name, self._limits.verify_s, asked)
        self.incidents.suppressed = suppressed
        self._tracker = Tracker(self._limits.lost_s, self._s.tracker)
        return outs

    def use(self, rules: Rules) -> Outs:
        """Other rules, from the next segment on. What the old ones had begun has ended, where they are gone."""
        self._adopt(rules)
        return self._told("rules")

    def _adopt(self, rules: Rules) -> None:
        ids = {r.id for r in rules.rules}
        self.incidents.end_all(keep=ids)
        self.incidents.forget(ids)
        for o in self._s.followed.values():
            o.zones = {name: known for name, known in o.zones.items() if name in rules.zones}
            o.lines = {name: known for name, known in o.lines.items() if name in rules.lines}
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
        ready = self.order.push(ref.epoch, ref.n, seq=ref.seq, start=start, at=at, item=Arrival(seq, event))
        return [*outs, *(out for arrival in ready for out in self._work(arrival, at))]

    def deadline(self) -> float | None:
        """When `due` has something to do."""
        times = [t for t in (self.order.deadline(), self.incidents.deadline(), self._idle_at()) if t is not None]
        return min(times, default=None)

    def due(self, at: float) -> Outs:
        """All that was stored until `at` has been read: what is missing is given up, verdicts are overdue, and there
        may be no more video. Each at its own time, so that it does not matter how often this is asked.
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
        return outs

    def passed(self, seq: int) -> None:
        """All of EVENTS up to a sequence has been read: what was held of it and did not come again is there no more."""
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
        """An incident's question was not taken."""
        self.incidents.refused(incident)
        return self._told("refused")

    # ---- a segment

    def _work(self, arrival: Arrival, at: float) -> Outs:
        """What a segment brings. One that we stumble over takes with it what is followed, and no other segment."""
        try:
            return self._segment(arrival.event, at)
        except Exception as e:
            self.failed.append(Failure(arrival.seq, e))
            return self.anew()

    def _segment(self, event: Detections, at: float) -> Outs:
        s = self._s
        ref = event.segment
        start = event.start.timestamp()
        s.born = s.born or f"{ref.epoch[:EPOCH]}{ref.n}"
        s.heard = at
        self.taken += 1
        s.model = event.model
        s.width, s.height = event.width, event.height
        s.trail.append(Ref(ref.stream, ref.seq, ref.epoch, ref.n, start, start + event.duration))
        s.trail = [r for r in s.trail[-TRAIL:] if r.end > start - TRAIL_S]
        ended: list[Followed] = []
        outs: Outs = []
        for k, frame in enumerate(event.frames):
            outs += self._frame(frame, ended, at, before=s.trail[:-1] if k == 0 else s.trail)
        outs = [*self._tracks(event, ended), *outs, *self._told(f"{ref.epoch}.{ref.n}")]
        return outs

    def _frame(self, frame: Frame, ended: list[Followed], at: float, before: Sequence[Ref]) -> Outs:
        """before: the segments of the frames before it."""
        s = self._s
        time = frame.time.timestamp()
        last = s.frames[-1] if s.frames else None
        outs: Outs = []
        if last is not None and time <= last:
            if last - time < BACK_S:
                return []
            outs += self._finish(ended, at, before)
            self.incidents.begin_anew()
            s.frames, s.trail = [], s.trail[-1:]
        # Where somebody is seen again, all since then are filled in, from before a gap in the video too.
        oldest = min((o.last for o in s.followed.values()), default=time)
        s.frames = [*(t for t in s.frames if t > oldest), time]
        if s.looked is not None and (time - s.looked) * self._limits.fps < NEARLY:
            return outs
        s.looked = time
        passages = self._follow(time, self._wanted(frame), ended)
        objects = sorted((o for o in s.followed.values() if o.seen >= LEAST_SEEN), key=lambda o: (o.first, o.id))
        fresh = [o for o in objects if o.seen == LEAST_SEEN and o.last == time]
        self.objects += len(fresh)
        scene = Scene(time, s.aspect, objects, passages)
        self._judge(scene, at, s.trail)
        s.minute, over = counts.step(s.minute, time, objects, fresh, passages, list(self._rules.zones))
        return [*outs, self._count(over)] if over else outs

    def _judge(self, scene: Scene, at: float, trail: Sequence[Ref], *, final: bool = False) -> None:
        """What rules make of a frame. final: of the last one, of which only what has passed is known."""
        now = dt.datetime.fromtimestamp(scene.time, self._timezone)
        for rule in self._rules.rules:
            schedule = self._rules.schedules.get(rule.schedule or "")
            holds = (schedule is None or schedule.holds(now)) and (rule.momentary or not final)
            true = conditions.cases(rule, scene) if holds else {}
            left, undone = conditions.left(rule, scene), conditions.undone(rule, scene)
            self.incidents.step(rule, true, scene.time, trail, at, left=left, undone=undone, final=final)

    def _wanted(self, frame: Frame) -> list[Detected]:
        """What the rules let through."""
        rules = self._rules
        found = []
        for o in frame.objects:
            width, height = o.box[2] - o.box[0], o.box[3] - o.box[1]
            if (
                width <= 0
                or height <= 0
                or width * height < NOTHING
                or (rules.labels is not None and o.label not in rules.labels)
            ):
                continue
            f = rules.filters.get(o.label)
            if f and not (
                o.score >= f.min_score
                and f.min_area <= width * height <= f.max_area
                and f.min_height <= height <= f.max_height
            ):
                continue
            if any(
                (m.labels is None or o.label in m.labels) and geometry.inside(m.polygon, anchor(o.box, m.anchor))
                for m in rules.masks
            ):
                continue
            found.append(Detected(o.label, o.score, o.box))
        return found if len(found) <= MOST_IN_FRAME else sorted(found, key=lambda d: (-d.score, d))[:MOST_IN_FRAME]

    def _follow(self, time: float, found: Sequence[Detected], ended: list[Followed]) -> list[Passage]:
        s = self._s
        numbers, lost = self._tracker.step(time, found, s.aspect)
        passages = self._end(lost, ended)
        for number, d in zip(numbers, found, strict=True):
            if number is None:
                continue
            known = s.followed.get(number)
            before = Before(known.last, known.box) if known else None
            if known is None:
                s.count += 1
                known = s.followed[number] = Followed(
                    id=f"{s.born}-{s.count}",
                    votes={},
                    score=0.0,
                    box=d.box,
                    first=time,
                    last=time,
                    still_box=d.box,
                    still_since=time,
                )
            else:
                self._fill(known, time, d.box)
            known.see(time, d.box, d.label, d.score)
            passages += places.step(known, before, self._rules, s.aspect)
        return passages

    def _fill(self, known: Followed, time: float, box: Box) -> None:
        """Frames in which the detector missed it: it was on its way."""
        for missed in self._s.frames:
            if known.last < missed < time:
                share = (missed - known.last) / (time - known.last)
                between = tuple(a + share * (b - a) for a, b in zip(known.box, box, strict=True))
                known.path.append(Spot(missed, between, None))  # type: ignore[arg-type]

    def _end(self, numbers: Iterable[int], ended: list[Followed]) -> list[Passage]:
        passages: list[Passage] = []
        for number in numbers:
            known = self._s.followed.pop(number, None)
            if known and known.seen >= LEAST_SEEN:
                passages += places.gone(known)
                ended.append(known)
        return passages

    def _finish(self, ended: list[Followed], at: float, trail: Sequence[Ref]) -> Outs:
        """Here a camera's time ends: what was there has left when it was last seen, and what lasts has ended."""
        s = self._s
        passages = self._end(list(s.followed), ended)
        self._tracker = Tracker(self._limits.lost_s)
        s.tracker = self._tracker.state
        if s.looked is not None and trail:
            self._judge(Scene(s.looked, s.aspect, [], passages), at, trail, final=True)
            if s.minute:
                s.minute, _ = counts.step(s.minute, s.looked, [], [], passages, list(self._rules.zones))
        self.incidents.end_all()
        s.looked = None
        outs = [self._count(s.minute)] if s.minute else []
        s.minute = None
        return outs

    def _idle(self, at: float) -> Outs:
        """No more video."""
        s = self._s
        ended: list[Followed] = []
        minute = self._finish(ended, at, s.trail)
        outs = self._told("idle")
        if s.trail and ended:
            last = s.trail[-1]
            event = Tracks(
                camera=self.name,
                segment=SegmentRef(stream=last.stream, seq=last.seq, epoch=last.epoch, n=last.n),
                start=instant(last.start),
                duration=round(last.end - last.start, 3),
                width=s.width,
                height=s.height,
                model=s.model,
                tracks=[self._track(o, "end") for o in ended],
            )
            outs.insert(0, Out(event, f"analytics/tracks/{self.name}/{last.epoch}/{last.n}/idle"))
        return [*outs, *minute]

    # ---- what is said of it

    def _tracks(self, event: Detections, ended: Sequence[Followed]) -> Outs:
        said = []
        for o in self._s.followed.values():
            if o.seen < LEAST_SEEN or not o.path:
                continue
            if o.told is None:
                said.append(self._track(o, "new"))
            elif o.last - o.told >= self._limits.update_s or o.zones_told != o.zones_now() or len(o.path) >= MOST_PATH:
                said.append(self._track(o, "update"))
        said += [self._track(o, "end") for o in ended]
        if not said:
            return []
        ref = event.segment
        tracks = Tracks(
            camera=self.name,
            segment=ref,
            start=event.start,
            duration=event.duration,
            width=event.width,
            height=event.height,
            model=event.model,
            tracks=sorted(said, key=lambda t: (t.first, t.id)),
        )
        return [Out(tracks, f"analytics/tracks/{self.name}/{ref.epoch}/{ref.n}")]

    def _track(self, o: Followed, state: str) -> Track:
        aspect = self._s.aspect
        direction = o.direction(aspect)
        path, o.path = o.path, []
        o.told, o.zones_told = o.last, o.zones_now()
        return Track(
            id=o.id,
            state=state,  # type: ignore[arg-type]
            label=o.label,
            score=o.score,
            box=_rounded(o.box),
            first=instant(o.first),
            last=instant(o.last),
            path=[PathPoint(time=instant(p.time), box=_rounded(p.box), score=p.score) for p in path],
            speed=round(o.speed(aspect), 4),
            direction=None if direction is None else round(direction, 1),
            stationary=o.is_stationary(),
            zones=o.zones_told,
        )

    def _count(self, minute: Minute) -> Out:
        last = self._s.trail[-1]
        # A minute may come in parts, two of them after one segment.
        part = f"{last.epoch}.{last.n}.{round(minute.time * 1000)}"
        id = f"analytics/counts/{self.name}/{minute.number}/{part}"
        return Out(counts.event(self.name, minute), id)

    def _told(self, cause: str) -> Outs:
        """What rules and verdicts have made of it."""
        outs = []
        for what in self.incidents.take():
            match what:
                case jobs.Verify():
                    id = f"verify/{what.incident}"
                case Alert():
                    id = f"analytics/alerts/{self.name}/{what.incident}"
                case Incident(state="update") if cause in ("verdict", "overdue", "refused"):
                    id = f"analytics/incidents/{self.name}/{what.incident}/{what.verification}"
                case Incident():
                    moment = f"{round(what.time.timestamp() * 1000)}/{what.verification}"
                    id = f"analytics/incidents/{self.name}/{what.incident}/{what.state}/{moment}"
            outs.append(Out(what, id))
        return outs


def _rounded(box: Box) -> Box:
    return tuple(min(1.0, max(0.0, round(v, 4))) for v in box)  # type: ignore[return-value]
