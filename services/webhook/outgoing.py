"""A message of EVENTS as an HTTP request: CloudEvents' headers around the unchanged event. Pure.

Source: CloudEvents 1.0.2, HTTP protocol binding, "3.1. Binary Content Mode".
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from urllib.parse import quote

import msgspec

from shared.contract.events import Alert, Event, Incident, decode, trace_of
from shared.runtime.errors import BadMessage

KINDS: Mapping[str, type[Event]] = {kind.kind: kind for kind in (Alert, Incident)}
REQUIRED = ("ce-specversion", "ce-id", "ce-source", "ce-type")
# The media type is only in content-type.
_ATTRIBUTE = re.compile(r"ce-(?!datacontenttype$)[a-z0-9]{1,64}")
_JSON = "application/json"
# All printable ASCII but space, double quote and percent; letters, digits and _.-~ are safe anyway.
_SAFE = "!#$&'()*+,/:;<=>?@[\\]^`{|}"


class Outgoing(msgspec.Struct, frozen=True, kw_only=True):
    """id: of the event, the same at each try. time: of the event, wall clock seconds, if known."""

    id: str
    headers: dict[str, str]
    body: bytes
    time: float | None


def kind_of(subject: str) -> str:
    """Return `alerts` for `events.alerts.lobby`."""
    return subject.split(".")[1]


def read(subject: str, headers: Mapping[str, str], body: bytes) -> Outgoing:
    """Convert a message. Raises BadMessage, with the field, if it is no event of ours."""
    kind = kind_of(subject)
    decode(body, KINDS[kind], subject)
    fields = {name.lower(): value for name, value in headers.items()}
    if missing := [name for name in REQUIRED if not fields.get(name)]:
        raise BadMessage(f"not an event of {kind}: without {', '.join(missing)}")
    attributes = {n: quote(v, safe=_SAFE, errors="replace") for n, v in fields.items() if _ATTRIBUTE.fullmatch(n)}
    media = fields.get("content-type", "")
    out = {**attributes, "content-type": media if media.isascii() and media.isprintable() and media else _JSON}
    if trace := trace_of(fields):
        out["traceparent"] = trace
    return Outgoing(id=attributes["ce-id"], headers=out, body=body, time=_seconds(fields.get("ce-time", "")))


def _seconds(time: str) -> float | None:
    try:
        return dt.datetime.fromisoformat(time).timestamp()
    except (ValueError, OverflowError):
        return None
