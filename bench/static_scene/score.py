"""Incidents of the same film with and without the gate, by the real tracker and rules, side by side."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec

from bench import footage_vtest as footage
from bench.static_scene.dealing import Frames, SegmentResult
from bench.static_scene.films import FPS, AnalysedSegment, Film
from services.analytics.camera.camera import CameraAnalytics
from services.analytics.limits import Limits
from shared.contract import rules
from shared.contract.events import DetectedObject, Detections, Frame, Incident, SegmentRef, Timing

# Incidents of one rule match if they begin within this time: an entry may be detected a segment late.
NEAR_S = 2.0

_MOVING = ["person", "car", "truck", "bus"]
_LINES = {
    "road": {"from": [0.43, 0.62], "to": [0.43, 0.28]},
    "left": {"from": [0.2, 0.75], "to": [0.2, 0.25]},
    "right": {"from": [0.66, 0.8], "to": [0.66, 0.2]},
    "across": {"from": [0.0, 0.47], "to": [1.0, 0.47]},
}
_ZONES = {
    "road": [[0.32, 0.28], [0.47, 0.28], [0.47, 0.62], [0.32, 0.62]],
    "lawn": [[0.0, 0.45], [0.5, 0.6], [0.5, 1.0], [0.0, 1.0]],
    "yard": [[0.5, 0.25], [0.95, 0.25], [0.95, 0.75], [0.5, 0.75]],
}
RULES = msgspec.convert(
    {
        "labels": _MOVING,
        "lines": _LINES,
        "zones": {name: {"polygon": corners} for name, corners in _ZONES.items()},
        # The detector finds the parked cars there only sometimes, with the gate and without it.
        "masks": [{"polygon": [[0.82, 0.0], [1.0, 0.0], [1.0, 0.2], [0.82, 0.2]], "anchor": "center"}],
        "rules": [
            *({"id": f"cross-{line}", "kind": "crossing", "line": line} for line in _LINES),
            *({"id": f"enter-{zone}", "kind": "enter", "zone": zone} for zone in _ZONES),
            {"id": "stopped", "kind": "stopped", "seconds": 8},
            {"id": "loitering", "kind": "loitering", "zone": "yard", "seconds": 10},
            {"id": "crowd", "kind": "count", "over": 2, "zone": "yard"},
        ],
    },
    rules.Rules,
)


class RaisedIncident(NamedTuple):
    """An incident. at: its start, in seconds of the film."""

    rule: str
    direction: str | None
    at: float


def incidents(segments: Sequence[AnalysedSegment], frames: Iterable[Frames]) -> list[RaisedIncident]:
    """Return the incidents of a film, by the frames of each segment."""
    camera = CameraAnalytics("bench", Limits(fps=FPS), RULES)
    outs = []
    for seq, (segment, content) in enumerate(zip(segments, frames, strict=True), 1):
        event = _event(seq, segment, content)
        outs += camera.read(seq, event, event.start.timestamp())
    while (deadline := camera.deadline()) is not None:
        outs += camera.due(deadline)
    found = [o.what for o in outs if type(o.what) is Incident and o.what.state == "start"]
    return [RaisedIncident(i.rule, i.direction, (i.start - footage.START).total_seconds()) for i in found]


def _event(seq: int, segment: AnalysedSegment, content: Frames) -> Detections:
    start = footage.START + dt.timedelta(seconds=segment.seconds)
    return Detections(
        camera="bench",
        segment=SegmentRef(stream="MEDIA", seq=seq, epoch="e", n=seq - 1),
        start=start,
        duration=segment.duration,
        width=footage.WIDTH,
        height=footage.HEIGHT,
        model="ssd",
        frames=[Frame(time=start + dt.timedelta(seconds=offset), objects=objects) for offset, objects in content],
        timing=Timing(queued_ms=0, decode_ms=0, infer_ms=0),
    )


def truth(film: Film) -> list[Frames]:
    """Return the frames of a perfect detector: only the visitors."""
    found = []
    for segment in film.segments:
        frames = []
        for offset, _ in segment.frames:
            k = round((segment.seconds + offset) * footage.FPS)
            there = [(v.walk.label, cutout.box) for v in film.visits if (cutout := v.at(k))]
            frames.append((offset, [DetectedObject(label=label, score=0.99, box=box) for label, box in there]))
        found.append(frames)
    return found


def matched(ours: Sequence[RaisedIncident], wanted: Sequence[RaisedIncident]) -> int:
    """Return how many of the wanted are among ours, each once."""
    unmatched = list(ours)
    count = 0
    for one in wanted:
        near = [o for o in unmatched if o[:2] == one[:2] and abs(o.at - one.at) <= NEAR_S]
        if near:
            unmatched.remove(min(near, key=lambda o: abs(o.at - one.at)))
            count += 1
    return count


class Score(NamedTuple):
    """The comparison of a gated run.

    work: inferences including backfill, as a share of all images. incidents: of the ungated run. live, revised: how
    many of these the gated run has, before and after revisions. extra: incidents of the gated run only. real: of a
    perfect detector. real_before, real_now: how many of these are found without and with the gate.
    """

    work: float
    backfilled: float
    incidents: int
    live: int
    revised: int
    extra: int
    real: int
    real_before: int
    real_now: int


def compare(
    film: Film, results: Sequence[SegmentResult], ungated: Sequence[RaisedIncident], real: Sequence[RaisedIncident]
) -> Score:
    live = incidents(film.segments, [result.live for result in results])
    revised = incidents(film.segments, [result.revised for result in results])
    images = sum(len(segment.frames) for segment in film.segments)
    return Score(
        sum(result.images + result.backfilled for result in results) / images,
        sum(result.backfilled for result in results) / images,
        len(ungated),
        matched(live, ungated),
        matched(revised, ungated),
        len(revised) - matched(revised, ungated),
        len(real),
        matched(ungated, real),
        matched(revised, real),
    )
