"""Analyse a camera's segments, which come in order: objects, rules and counts of each frame. Pure."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Sequence

from services.analytics.camera import statements
from services.analytics.camera.state import (
    EARLY_SHARE,
    EPOCH_CHARACTERS,
    MAX_OBJECTS_IN_SEGMENT,
    MAX_TRAIL_SEGMENTS,
    STEP_BACK_S,
    TRAIL_S,
    CameraState,
)
from services.analytics.camera.statements import Outs
from services.analytics.incidents.lifecycle import FrameContext, Incidents
from services.analytics.incidents.state import Ref
from services.analytics.limits import Limits
from services.analytics.rules import conditions
from services.analytics.rules.conditions import ObservedScene
from services.analytics.tracking import counts
from services.analytics.tracking.following import MIN_FRAMES_SEEN, Ended, Following
from shared.contract.events import Detections, Frame, SegmentRef
from shared.contract.rules import Rules

# Characters that no epoch of ingest has.
_UNUSUAL = re.compile(r"[^A-Za-z0-9_-]")


class Analysis:
    """See the module. state: what it reads and changes. objects: number of tracks begun."""

    def __init__(self, name: str, limits: Limits, rules: Rules, state: CameraState) -> None:
        self.incidents = Incidents(name, limits.verify_s, state.incidents)
        self.objects = 0
        self._name = name
        self._limits = limits
        self._s = state
        self._following = Following(state, limits.lost_s)
        self.use(rules)

    def use(self, rules: Rules) -> None:
        """Apply other rules from the next segment on. Incidents of removed rules end."""
        ids = {r.id for r in rules.rules}
        self.incidents.end_all(keep=ids)
        self.incidents.forget(ids)
        self._following.keep_places(rules)
        self._rules = rules
        self._timezone = rules.zone_info()

    def take_incidents(self, cause: str) -> Outs:
        """Return the new incidents, alerts and verification requests. cause: what produced them."""
        return statements.incidents(self._name, self.incidents.verifications.take(), cause)

    def idle_at(self) -> float | None:
        """Return when the video counts as ended if no more comes, by the log's clock."""
        return self._s.last_active + self._limits.idle_s + self._limits.reorder_s if self._s.last_active else None

    def read(self, event: Detections, at: float) -> Outs:
        """Analyse a segment. at: the log's clock."""
        s = self._s
        ref = event.segment
        start = event.start.timestamp()
        if s.is_second_pass:
            s.id_prefix, s.count = f"settled-{_born(ref)}", 0
        s.id_prefix = s.id_prefix or _born(ref)
        s.last_active = at
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
            outs += self._read_frame(frame, ended, at, before=s.trail[:-1] if k == 0 else s.trail)
        tracks = statements.tracks(self._name, s, self._limits, event, ended)
        return [*tracks, *outs, *self.take_incidents(f"{ref.epoch}.{ref.n}")]

    def _read_frame(self, frame: Frame, ended: Ended, at: float, before: Sequence[Ref]) -> Outs:
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
        return [*outs, statements.count(self._name, s, over)] if over else outs

    def _judge(self, scene: ObservedScene, at: float, trail: Sequence[Ref], *, final: bool = False) -> None:
        """Apply the rules to a frame. final: no frame comes after it, and only what has passed is known."""
        now = dt.datetime.fromtimestamp(scene.time, self._timezone)
        frame = FrameContext(scene.time, at, trail, final)
        for rule in self._rules.rules:
            schedule = self._rules.schedules.get(rule.schedule or "")
            holds = (schedule is None or schedule.holds(now)) and (rule.momentary or not final)
            self.incidents.judge(rule, conditions.evaluate(rule, scene, holds=holds), frame)

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
        outs = [statements.count(self._name, s, s.minute)] if s.minute else []
        s.minute = None
        return outs

    def end(self, at: float) -> Outs:
        """End everything: no more video comes."""
        ended: Ended = []
        minute = self._finish(ended, at, self._s.trail)
        incidents = self.take_incidents("idle")
        return [*statements.last_tracks(self._name, self._s, ended), *incidents, *minute]


def _born(ref: SegmentRef) -> str:
    """Return the prefix of the ids of tracks followed from a segment on."""
    # It becomes a part of a job's id, which takes no other characters.
    return f"{_UNUSUAL.sub('-', ref.epoch[:EPOCH_CHARACTERS])}{ref.n}"
