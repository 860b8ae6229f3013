"""The doors of the scaler: heartbeats, and its own answers."""

from __future__ import annotations

import math

import msgspec

from services.scaler.live.answers import Explanations
from services.scaler.live.heartbeats import Heartbeats, beat_of
from shared.contract import stats
from shared.contract.stats import WorkerStats
from tests.fuzz import good, spoil
from tests.fuzz.door import Door
from tidegate.view.monitor import _Worker

_BEAT = WorkerStats(
    service="cv",
    replica="cv-0",
    pid=7,
    state="ready",
    model="m",
    uptime_s=9.5,
    held=1,
    processed=5,
    failed=0,
    items=9,
    busy_s=1.5,
    working_s=2.5,
)
_EXPLANATION = {"by": "scaler", "services": ["cv"], "found": []}
_REFUSALS = (msgspec.DecodeError, UnicodeDecodeError)


def _heartbeat(data: bytes) -> None:
    """What the scaler and the live view do."""
    beat = stats.decode(data)
    beats, worker = Heartbeats(), _Worker()
    for at in (1.0, 2.0):
        beats.beat(beat_of(beat), at)
        worker.beat(beat, at)
    fleet = beats.fleet(2.0)
    assert fleet and math.isfinite(fleet.processed) and math.isfinite(fleet.working_s)
    msgspec.json.encode((fleet, beats.replicas(2.0), worker.now("cv-0", 2.0)))


def _explained(data: bytes) -> None:
    msgspec.json.decode(data, type=Explanations)


DOORS = (
    Door("scaler.heartbeat", lambda: [stats.encode(_BEAT)], _heartbeat, _REFUSALS, spoil.as_json),
    Door("scaler.explained", lambda: good.as_json(_EXPLANATION), _explained, _REFUSALS, spoil.as_json, share=0.3),
)
