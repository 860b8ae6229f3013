"""The doors of the scaler: heartbeats, and its own answers."""

from __future__ import annotations

import math
from typing import Any

import msgspec
from nats.aio.msg import Msg

from services.scaler.live.heartbeats import Heartbeats, beat_of
from shared.bus.requests import read
from shared.contract.questions.explain import Explanations
from shared.contract.work import stats
from shared.contract.work.stats import WorkerStats
from shared.runtime.errors import TidegateError
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
    in_flight=1,
    processed=5,
    failed=0,
    items=9,
    busy_s=1.5,
    working_s=2.5,
)
_EXPLANATION = {"by": "scaler", "services": ["cv"], "found": []}


def _heartbeat(data: bytes) -> None:
    """Handle a heartbeat as the scaler and the live view do."""
    beat = stats.decode(data)
    beats, worker = Heartbeats(), _Worker()
    for at in (1.0, 2.0):
        beats.beat(beat_of(beat), at)
        worker.beat(beat, at)
    fleet = beats.fleet(2.0)
    assert fleet and math.isfinite(fleet.processed) and math.isfinite(fleet.working_s)
    msgspec.json.encode((fleet, beats.replicas(2.0), worker.now("cv-0", 2.0)))


def _explained(data: bytes) -> None:
    """Handle a scaler's answer as the command line does."""
    nobody: Any = None
    read(Msg(nobody, data=data), Explanations)


DOORS = (
    Door("scaler.heartbeat", lambda: [stats.encode(_BEAT)], _heartbeat, (msgspec.DecodeError,), spoil.as_json),
    Door(
        "scaler.explained", lambda: good.as_json(_EXPLANATION), _explained, (TidegateError,), spoil.as_json, share=0.3
    ),
)
