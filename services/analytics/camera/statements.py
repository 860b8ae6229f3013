"""A camera's results to publish: tracks, counts, incidents, alerts and verification requests, under their ids. Pure.

An id depends on what the statement follows from, never on when or where it was computed. Two replicas that publish the
same statement use the same id, and EVENTS keeps one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeAlias

from services.analytics.camera.state import MAX_PATH_POINTS, CameraState
from services.analytics.limits import Limits
from services.analytics.tracking import counts
from services.analytics.tracking.counts import Minute
from services.analytics.tracking.following import MIN_FRAMES_SEEN
from services.analytics.tracking.objects import Box, FollowedObject, instant
from shared.contract.events import Alert, Detections, Event, Incident, PathPoint, Track, Tracks
from shared.contract.work import jobs


class Out(NamedTuple):
    """A message to publish: an event under its id, or a verification request to a vision language model."""

    what: Event | jobs.Verify
    id: str


Outs: TypeAlias = list[Out]


def tracks(camera: str, s: CameraState, limits: Limits, event: Detections, ended: Sequence[FollowedObject]) -> Outs:
    """Return the changes of the camera's tracks after a segment; empty if there are none."""
    changed = []
    for o in s.followed.values():
        if o.hits < MIN_FRAMES_SEEN or not o.path:
            continue
        if o.last_event_time is None:
            changed.append(_track(o, "new", s.aspect))
        elif (
            o.last - o.last_event_time >= limits.update_s
            or o.last_event_zones != o.zones_now()
            or len(o.path) >= MAX_PATH_POINTS
        ):
            changed.append(_track(o, "update", s.aspect))
    changed += [_track(o, "end", s.aspect) for o in ended]
    if not changed:
        return []
    ref = event.segment
    update = Tracks(
        camera=camera,
        segment=ref,
        start=event.start,
        duration=event.duration,
        width=event.width,
        height=event.height,
        model=event.model,
        tracks=sorted(changed, key=lambda t: (t.first, t.id)),
    )
    return [Out(update, f"analytics/tracks/{camera}/{ref.epoch}/{ref.n}")]


def last_tracks(camera: str, s: CameraState, ended: Sequence[FollowedObject]) -> Outs:
    """Return the end of the camera's tracks, once no more video comes. The event names the last segment."""
    if not (s.trail and ended):
        return []
    last = s.trail[-1]
    what = Tracks(
        camera=camera,
        segment=last.segment,
        start=instant(last.start),
        duration=round(last.end - last.start, 3),
        width=s.width,
        height=s.height,
        model=s.model,
        tracks=[_track(o, "end", s.aspect) for o in ended],
    )
    return [Out(what, f"analytics/tracks/{camera}/{last.epoch}/{last.n}/idle")]


def count(camera: str, s: CameraState, minute: Minute) -> Out:
    """Return a minute's counts, or a part of them: one segment may yield two parts of a minute."""
    last = s.trail[-1]
    part = f"{last.epoch}.{last.n}.{round(minute.time * 1000)}"
    return Out(counts.event(camera, minute), f"analytics/counts/{camera}/{minute.number}/{part}")


def incidents(camera: str, new: Iterable[Incident | jobs.Verify], cause: str) -> Outs:
    """Return the events of incidents, alerts and requests. cause: what produced them, such as `verdict`."""
    outs = []
    for what in new:
        match what:
            case jobs.Verify():
                id = f"verify/{what.incident}"
            case Alert():
                id = f"analytics/alerts/{camera}/{what.incident}"
            case Incident(state="update") if cause in ("verdict", "overdue", "refused"):
                id = f"analytics/incidents/{camera}/{what.incident}/{what.verification}"
            case Incident():
                moment = f"{round(what.time.timestamp() * 1000)}/{what.verification}"
                id = f"analytics/incidents/{camera}/{what.incident}/{what.state}/{moment}"
        outs.append(Out(what, id))
    return outs


def _track(o: FollowedObject, state: str, aspect: float) -> Track:
    """Return an object's track as it is now; each point of its path is published once."""
    direction = o.direction(aspect)
    path, o.path = o.path, []
    o.last_event_time, o.last_event_zones = o.last, o.zones_now()
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
        zones=o.last_event_zones,
    )


def _rounded(box: Box) -> Box:
    return tuple(min(1.0, max(0.0, round(v, 4))) for v in box)  # type: ignore[return-value]
