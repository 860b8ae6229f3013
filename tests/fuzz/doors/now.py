"""The doors of the console's page Now: what it hears, what scalers and Prometheus answer, times in requests."""

from __future__ import annotations

import datetime as dt
import json
import math
from typing import Any

import msgspec
from nats.aio.msg import Msg

from services.console.cameras.state_tracker import CameraReport
from services.console.now.bus_monitor import BusMonitor
from services.console.now.reasons import reason
from services.console.now.series import prometheus
from services.console.now.series.time_steps import span
from services.console.web.refused import Refused
from services.scaler.demand.estimate import Estimate
from shared.bus.requests import read
from shared.contract import events, names
from shared.contract.events import CameraStatus, Detections, DetectionsRevision, VideoStatus
from shared.contract.questions.explain import Explanations
from shared.contract.work import stats
from shared.runtime.errors import TidegateError
from tests.fuzz import good, spoil
from tests.fuzz.door import Door
from tests.fuzz.doors.scaler import _BEAT

_NOW = dt.datetime(2026, 11, 29, 12, tzinfo=dt.UTC)
_KINDS = (Detections, DetectionsRevision, CameraStatus, VideoStatus)
_ESTIMATE = Estimate(replicas=2.0, active=True, basis="demand", service_rate=5.0, arrival_replicas=2.0)
_EXPLAINED = {
    "by": "scaler",
    "services": ["cv"],
    "found": [
        {
            "service": "cv",
            "of": "consumer cv",
            "terms": msgspec.to_builtins(_ESTIMATE),
            "settings": {"latency_target_s": 2.0, "cold_start_s": 60.0},
            "lines": _ESTIMATE.explain(),
        }
    ],
}
_SERIES = {"metric": {}, "values": [[1_796_000_060.0, "2.5"], [1_796_000_120, "NaN"]]}
_ANSWER = {"status": "success", "data": {"resultType": "matrix", "result": [_SERIES]}}


def _heard(data: bytes) -> None:
    """Feed the input as a heartbeat and as each kind of event; the view is JSON after that."""
    bus = BusMonitor(0.0)
    for at in (1.0, 2.0):
        bus.beat("scale.cv.cv-0", data, at, _NOW)
        for kind in _KINDS:
            bus.event(kind.kind, "lobby", data, at)
    reply = bus.services["cv"].now(3.0, 1.0), bus.camera_states.cameras({"lobby": CameraReport("online")}, 3.0)
    assert _is_finite(msgspec.to_builtins(reply))


def _explained(data: bytes) -> None:
    nobody: Any = None
    found = reason([read(Msg(nobody, data=data), Explanations)])
    assert _is_finite(msgspec.to_builtins(found))


def _series(data: bytes) -> None:
    found = prometheus.values(data, 1_796_000_000.0, 10, 60.0)
    assert len(found) == 10 and _is_finite(found)


def _query(data: bytes) -> None:
    since, until, step = [*data.decode(errors="replace").split("&"), "", ""][:3]
    found = span(since, until, step, _NOW)
    assert found.since < found.until and found.step_s >= 5


def _is_finite(value: Any) -> bool:
    if isinstance(value, dict):
        return all(map(_is_finite, value.values()))
    if isinstance(value, list | tuple):
        return all(map(_is_finite, value))
    return not isinstance(value, float) or math.isfinite(value)


def _events() -> list[bytes]:
    fields = {names.event(kind.kind, ""): kind for kind in _KINDS}
    return [events.encode(event) for event in good.every_event() if names.event(event.kind, "") in fields]


DOORS = (
    Door("now.heard", lambda: [stats.encode(_BEAT), *_events()], _heard, (), spoil.as_json, share=0.5),
    Door("now.explained", lambda: good.as_json(_EXPLAINED), _explained, (TidegateError,), spoil.as_json, share=0.3),
    Door("now.series", lambda: [json.dumps(_ANSWER).encode()], _series, (ValueError,), spoil.as_json, share=0.3),
    Door("now.asked", lambda: [b"2026-11-29T11:00:00Z&2026-11-29T13:00:00+01:00&60"], _query, (Refused,), share=0.3),
)
