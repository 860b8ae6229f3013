"""A message of PICTURES: an alert's picture as JPEG, or why it has none. Pure.

An alert has one subject, and PICTURES stores its last message alone.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import quote

from shared.contract.events import Incident, trace_of
from shared.contract.segment import rfc3339
from shared.runtime.errors import BadMessage

INCIDENT = "Incident"
TIME = "Picture-Time"
ABSENT = "Picture-Absent"
_JPEG = b"\xff\xd8\xff"
_MOST_REASON = 500


class AlertPicture(NamedTuple):
    """time: when the frame was captured. absent: why there is no picture; empty if there is one."""

    jpeg: bytes
    time: dt.datetime | None
    absent: str = ""


def message_id(alert: Incident) -> str:
    """Return the id by which PICTURES drops repeats."""
    return f"pictures/{alert.camera}/{quote(alert.incident)}"


def headers(alert: Incident, heads: Mapping[str, str], time: dt.datetime, *, most_s: float) -> dict[str, str]:
    """Return the headers of a picture. heads: of the alert. time: of the frame. most_s: until it expires, at most."""
    return {
        "Nats-Msg-Id": message_id(alert),
        "Nats-TTL": f"{math.ceil(most_s)}s",
        "Content-Type": "image/jpeg",
        "Camera": alert.camera,
        INCIDENT: quote(alert.incident),
        TIME: rfc3339(time),
    } | _trace(heads)


def absent_headers(alert: Incident, heads: Mapping[str, str], reason: str) -> dict[str, str]:
    """Return the headers of a message that says why there is no picture. It never replaces a picture."""
    plain = "".join(c if c.isprintable() and c.isascii() else " " for c in reason)
    return {
        "Nats-Msg-Id": f"{message_id(alert)}/absent",
        "Nats-Expected-Last-Subject-Sequence": "0",
        "Camera": alert.camera,
        INCIDENT: quote(alert.incident),
        ABSENT: plain[:_MOST_REASON],
    } | _trace(heads)


def _trace(heads: Mapping[str, str]) -> dict[str, str]:
    trace = trace_of({name.lower(): value for name, value in heads.items()})
    return {"traceparent": trace} if trace else {}


def read(headers: Mapping[str, str], data: bytes) -> AlertPicture:
    """Parse a stored message. Raises BadMessage for one that is not of the service."""
    if reason := headers.get(ABSENT):
        return AlertPicture(b"", None, reason)
    try:
        time = dt.datetime.fromisoformat(headers.get(TIME, ""))
    except ValueError as e:
        raise BadMessage(f"a picture without its time: {e}") from e
    if not data.startswith(_JPEG) or time.tzinfo is None:
        raise BadMessage("a picture that is no JPEG, or without its time")
    return AlertPicture(data, time)
