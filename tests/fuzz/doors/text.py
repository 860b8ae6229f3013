"""Text of others that is read by hand: what is logged, files of operators, metadata, pages of metrics."""

from __future__ import annotations

import math
import time
from pathlib import Path

from google.protobuf.message import DecodeError

from services.scaler.externalscaler_pb2 import GetMetricsRequest, ScaledObjectRef
from services.scaler.live import metadata
from services.scaler.live.heartbeats import Heartbeats
from services.scaler.live.metrics_page import beats
from services.webhook.endpoint import retry_after
from shared.contract.events import trace_of
from shared.runtime.errors import SettingError
from shared.runtime.redact import redact
from shared.runtime.telemetry import context_of
from tests.fuzz import spoil
from tests.fuzz.door import Door
from tidegate.keda import scaledobject
from tidegate.keda.decision import Keda

DEPLOY = Path(__file__).parents[3] / "deploy" / "keda"
_METADATA = {
    "service": "cv",
    "latencyTarget": "2",
    "coldStart": "90s",
    "metricsUrl": "http://p:9090/federate",
    "consumer": "a,b",
}
_REF = ScaledObjectRef(name="cv", namespace="tidegate", scalerMetadata=_METADATA)
_PAGE = b"""# HELP tidegate_segments_out_total Segments.
# TYPE tidegate_segments_out_total counter
tidegate_segments_out_total{service="cv",replica="cv-0"} 12.0
# TYPE tidegate_working_seconds_total counter
tidegate_working_seconds_total{service="cv",replica="cv-0"} 3.5 1700000000000
# TYPE x histogram
x_bucket{le="0.1"} 1
x_bucket{le="+Inf"} 2
"""


def _redacted(data: bytes) -> None:
    text = data.decode(errors="replace")
    redact(text)
    redact(text, 100)


def _scaled_object(data: bytes) -> None:
    """Read a file as the local autoscaler does."""
    Keda(scaledobject.parse(data.decode(errors="replace")), 0.0)


def _called(data: bytes) -> None:
    """Handle a call as the scaler does: the bytes of its message, then the metadata."""
    metadata.parse(ScaledObjectRef.FromString(data).scalerMetadata)


def _query(data: bytes) -> None:
    metadata.parse(GetMetricsRequest.FromString(data).scaledObjectRef.scalerMetadata)


def _page(data: bytes) -> None:
    heartbeats = Heartbeats(15.0)
    for of_service in beats(data.decode(errors="replace")).values():
        for beat in of_service:
            heartbeats.beat(beat, 1.0)
    fleet = heartbeats.fleet(1.0)
    assert fleet is None or (math.isfinite(fleet.processed) and math.isfinite(fleet.working_s))


def _retry(data: bytes) -> None:
    request = retry_after(data.decode("latin-1"), time.time())
    assert request is None or request >= 0


def _trace(data: bytes) -> None:
    text = data.decode(errors="replace")
    trace_of({"traceparent": text})
    context_of(text)


DOORS = (
    Door(
        "text.redacted",
        lambda: [b"can't open rtsp://admin:hunter2@10.0.0.7/a?user=x&password=y 'http://h/user=a_pass=b': refused"],
        _redacted,
    ),
    Door(
        "text.scaled-object",
        lambda: [
            path.read_bytes()
            for path in [*DEPLOY.glob("*.yaml"), *DEPLOY.glob("demand/*.yaml")]
            if b"ScaledObject" in path.read_bytes()
        ],
        _scaled_object,
        (SettingError,),
        spoil.lines,
        share=0.05,
    ),
    Door("text.call", lambda: [_REF.SerializeToString()], _called, (SettingError, DecodeError)),
    Door(
        "text.metrics-call",
        lambda: [GetMetricsRequest(scaledObjectRef=_REF, metricName="x").SerializeToString()],
        _query,
        (SettingError, DecodeError),
        share=0.5,
    ),
    Door("text.metrics", lambda: [_PAGE], _page, (ValueError,), share=0.5),
    Door("text.retry-after", lambda: [b"120", b"Wed, 21 Oct 2026 07:28:00 GMT"], _retry, share=0.5),
    Door("text.traceparent", lambda: [f"00-{'a' * 32}-{'b' * 16}-01".encode()], _trace, share=0.5),
)
