"""A partition of analytics without a server: arrivals in any order, and their results."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec
from hypothesis import strategies as st

from services.analytics.camera.statements import Outs
from services.analytics.limits import Limits
from services.analytics.partitions.partition import Partition
from shared.bus.direct import Stored
from shared.contract import events
from shared.contract.events import Detections, Track, Tracks
from shared.contract.rules import Rules
from tests.support.video.walking_people import START, Walk, detections

LIMITS = Limits(reorder_s=3.0, lost_s=1.5, update_s=2.0, idle_s=10.0, verify_s=600.0)
# Ten seconds before a minute is over.
BEGIN = START + dt.timedelta(seconds=50)
AFTER = 1e6
RULES: dict[str, Any] = {
    "zones": {
        "door": {"polygon": [[0.4, 0.3], [0.6, 0.3], [0.6, 0.95], [0.4, 0.95]]},
        "left": {"polygon": [[0, 0], [0.5, 0], [0.5, 1], [0, 1]], "anchor": "center"},
    },
    "lines": {"gate": {"from": [0.5, 0.95], "to": [0.5, 0.3]}},
    "masks": [{"polygon": [[0, 0], [0.15, 0], [0.15, 0.3], [0, 0.3]], "labels": ["car"]}],
    "filters": {"person": {"min_score": 0.25}},
    "schedules": {"then": {"from": "12:00", "until": "12:01"}},
    "rules": [
        {"id": "in", "kind": "enter", "zone": "door", "verify": "Is somebody there?"},
        {"id": "out", "kind": "exit", "zone": "left", "schedule": "then"},
        {"id": "stay", "kind": "loitering", "zone": "left", "seconds": 3, "end_after_s": 0.5},
        {"id": "cross", "kind": "crossing", "line": "gate", "alert": "start"},
        {"id": "some", "kind": "count", "over": 1, "hold_s": 1, "verify": "Are they two?", "alert": "confirmed"},
        {"id": "none", "kind": "count", "under": 1, "zone": "door", "cooldown_s": 5},
        {"id": "near", "kind": "proximity", "labels": ["person"], "to": ["person", "car"], "distance": 0.15},
        {"id": "stop", "kind": "stopped", "seconds": 2},
        {"id": "wrong", "kind": "wrong_way", "direction": 90, "tolerance": 60},
        {"id": "fast", "kind": "speed", "over": 0.1, "hold_s": 0.5},
        {"id": "crowd", "kind": "crowding", "objects": 2, "distance": 0.1},
    ],
}
BOOK = msgspec.convert(RULES, Rules)


def partition(book: Rules = BOOK, limits: Limits = LIMITS) -> Partition:
    return Partition(0, limits, lambda camera: book)


class Arrival(NamedTuple):
    """at: seconds after `BEGIN` at which it was stored in EVENTS."""

    at: float
    event: Detections


def in_time(found: Iterable[Detections]) -> list[Arrival]:
    """Each arrives at its end."""
    return [Arrival((e.start - BEGIN).total_seconds() + e.duration, e) for e in found]


def log(arrivals: Iterable[Arrival]) -> list[Stored]:
    """The events in the order of their arrival, as in EVENTS."""
    return [
        Stored(
            seq,
            f"events.detections.{a.event.camera}",
            BEGIN + dt.timedelta(seconds=a.at),
            {},
            events.encode(a.event),
        )
        for seq, a in enumerate(sorted(arrivals, key=lambda a: a.at), 1)
    ]


def read(camera: Partition, stored: Iterable[Stored]) -> Outs:
    return [out for one in stored for out in camera.read(one)]


def wait(camera: Partition, seconds: float = AFTER) -> Outs:
    """Nothing more arrives until that long after `BEGIN`."""
    return [out for _, outs in camera.due(BEGIN.timestamp() + seconds) for out in outs]


def play(arrivals: Iterable[Arrival], book: Rules = BOOK, limits: Limits = LIMITS) -> Outs:
    """All outputs of it, to the end."""
    camera = partition(book, limits)
    return read(camera, log(arrivals)) + wait(camera)


def of(outs: Outs, kind: type[Any]) -> list[Any]:
    return [out.what for out in outs if type(out.what) is kind]


def tracks(outs: Outs) -> list[Track]:
    return [t for event in of(outs, Tracks) for t in event.tracks]


spots = st.tuples(st.floats(0.1, 0.9), st.floats(0.35, 0.95))


@st.composite
def walks(draw: st.DrawFn, until: int = 26) -> Walk:
    begin = draw(st.integers(0, until - 4))
    start = draw(spots)
    return Walk(
        begin,
        draw(st.integers(begin + 2, until)),
        start,
        draw(spots | st.just(start)),
        label=draw(st.sampled_from(["person", "person", "car"])),
        size=draw(st.sampled_from([(0.06, 0.2), (0.12, 0.12)])),
        score=draw(st.sampled_from([0.3, 0.8, 0.9])),
    )


def two_connections(found: Sequence[Walk], first: int = 0) -> list[Detections]:
    """Twelve seconds, two without video, and twelve more of another connection."""
    before = detections(found, 12, fps=4, start=BEGIN, first=first)
    again = [w._replace(begin=w.begin - 14, end=w.end - 14) for w in found]
    after = detections(again, 12, fps=4, start=BEGIN + dt.timedelta(seconds=14), epoch="f", seq=13)
    return before + after


scenes = st.builds(two_connections, st.lists(walks(), min_size=1, max_size=4), st.sampled_from([0, 7]))
delays = st.lists(st.sampled_from([0, 0, 3, 11, 21, 25, 29]), min_size=24, max_size=24)
BUSY = [
    Walk(1, 11, (0.1, 0.7), (0.9, 0.7)),
    Walk(2, 20, (0.9, 0.8), (0.1, 0.8)),
    Walk(0, 26, (0.3, 0.9), (0.3, 0.9), label="car", size=(0.2, 0.15)),
    Walk(4, 9, (0.33, 0.6), (0.45, 0.9), score=0.3),
]


def delayed(found: Sequence[Detections], tenths: Sequence[int]) -> list[Arrival]:
    return [a._replace(at=a.at + d / 10) for a, d in zip(in_time(found), tenths, strict=False)]
