"""The request of an event as Slack or ntfy read it, made of CloudEvents' request. Pure.

Sources: Slack, "Sending messages using incoming webhooks" and "Formatting text"; ntfy, "Publishing".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from email.header import Header

import msgspec

from services.webhook.outgoing import Outgoing
from shared.contract.events import Incident
from shared.runtime.plain import plain

# Characters of a text: both truncate or refuse much longer ones.
MOST_TEXT = 1000
# ntfy makes a longer message an attachment.
MOST_NTFY_BYTES = 4096
# ntfy's: 1 is the lowest, 3 the default, 5 the highest.
PRIORITIES = {"info": "3", "warning": "4", "critical": "5"}
TAGS = {"info": "information_source", "warning": "warning", "critical": "rotating_light"}


def slack(outgoing: Outgoing) -> Outgoing:
    """Return the request of an incoming webhook of Slack: `{"text": …}`."""
    event = _event(outgoing)
    title, text = (_escaped(part) for part in (_title(event), _text(event)))
    body = msgspec.json.encode({"text": f"*{title}*\n{text}"})
    return _with(outgoing, body, {"content-type": "application/json"})


def ntfy(outgoing: Outgoing) -> Outgoing:
    """Return the request of a topic of ntfy: a text, with title, priority and tag in headers."""
    event = _event(outgoing)
    headers = {
        "content-type": "text/plain; charset=utf-8",
        "title": _header(_title(event)),
        "priority": PRIORITIES[event.severity],
        "tags": TAGS[event.severity],
    }
    return _with(outgoing, _text(event).encode()[:MOST_NTFY_BYTES].decode(errors="ignore").encode(), headers)


# By the value of WEBHOOK_FORMAT.
FORMATS: Mapping[str, Callable[[Outgoing], Outgoing]] = {"cloudevents": lambda out: out, "slack": slack, "ntfy": ntfy}


def _event(outgoing: Outgoing) -> Incident:
    return msgspec.json.decode(outgoing.body, type=Incident)


def _title(event: Incident) -> str:
    """Return one short line: the rule, the camera, and what became of the incident."""
    states = {"start": "", "update": ", goes on", "end": ", has ended"}
    state = ", a false alarm" if event.not_found else states[event.state]
    return plain(f"{event.rule} on {event.camera}{state}")[:200]


def _text(event: Incident) -> str:
    """Return lines for people: condition, severity, time, verification and its reason."""
    where = next((f" at {place}" for place in (event.zone, event.line) if place), "")
    verified = "" if event.verification == "none" else f", {event.verification}"
    late = ", found late" if event.late else ""
    first = f"{event.condition}{where}, {event.severity}{verified}{late}, {event.start:%Y-%m-%d %H:%M:%S} UTC"
    return "\n".join(plain(line)[:MOST_TEXT] for line in (first, event.reason) if line)


def _header(text: str) -> str:
    """Return an ASCII value of a header, by RFC 2047."""
    return text if text.isascii() else Header(text, "utf-8", maxlinelen=10_000).encode()


def _escaped(text: str) -> str:
    """Return text in which Slack finds no link, mention or command."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _with(outgoing: Outgoing, body: bytes, headers: Mapping[str, str]) -> Outgoing:
    others = {name: value for name, value in outgoing.headers.items() if name != "content-type"}
    return msgspec.structs.replace(outgoing, body=body, headers=others | dict(headers))
