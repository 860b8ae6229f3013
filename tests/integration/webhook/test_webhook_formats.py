"""The bodies for Slack and ntfy: checked as their documentation describes them, at a real HTTP server."""

from __future__ import annotations

import json
from email.header import decode_header, make_header

import msgspec
import pytest
from nats.aio.client import Client

from services.webhook.formats import FORMATS, MOST_TEXT
from services.webhook.outgoing import Outgoing, read
from services.webhook.settings import WebhookSettings
from shared.contract import events
from shared.contract.events import Alert, Incident
from shared.runtime.errors import SettingError
from shared.runtime.settings import load
from tests.support.worlds.webhook_service import all_answered, is_signed, receiver, sending
from tests.support.worlds.webhook_world import Receiver, incident, say
from tidegate.local.server import NatsServer

__all__ = ["receiver"]


def formatted(name: str, kind: type[Incident] = Alert, **changes: object) -> Outgoing:
    event = msgspec.structs.replace(incident(kind, 1), **changes)
    headers = events.headers(event, id="x", source="/tidegate/analytics")
    return FORMATS[name](read(events.subject(event), headers, events.encode(event)))


@pytest.mark.parametrize("name", ["slack", "ntfy"])
async def test_an_alert_is_posted_in_the_format_and_signed(
    server: NatsServer, admin: Client, receiver: Receiver, name: str
) -> None:
    async with sending(server, receiver.url, webhook_format=name):
        await say(admin, 1)
        await all_answered(admin)
    (posted,) = receiver.requests
    assert is_signed(posted) and posted.headers["ce-type"] == "tidegate.alerts.v1"
    text = "intrusion, warning, 2026-11-24 13:00:00 UTC\nÜber den Zaun"
    if name == "slack":
        assert posted.headers["content-type"] == "application/json"
        assert json.loads(posted.body) == {"text": f"*fence on lobby*\n{text}"}
    else:
        assert posted.body.decode() == text and posted.headers["content-type"].startswith("text/plain")
        assert [posted.headers[h] for h in ("title", "priority", "tags")] == ["fence on lobby", "4", "warning"]


def test_foreign_text_is_no_markup_and_no_header_and_has_a_limit() -> None:
    evil = {"rule": "<!channel> & \x1b[31m", "reason": "<https://evil|x> " + "é" * 900}
    (text,) = json.loads(formatted("slack", **evil).body).values()
    assert "<" not in text and ">" not in text and "&lt;!channel&gt; &amp;" in text and "\x1b" not in text
    out = formatted("ntfy", rule="Zaun\r\nX-Evil: ü", severity="critical")
    assert all(v.isascii() and v.isprintable() for v in out.headers.values())
    assert str(make_header(decode_header(out.headers["title"]))).startswith("Zaun")
    assert (out.headers["priority"], out.headers["tags"]) == ("5", "rotating_light")
    long = formatted("ntfy", condition="😀" * 200, reason="😀" * 1000).body
    assert len(long.decode()) <= 2 * MOST_TEXT + 1 and 4000 < len(long) <= 4096


def test_the_title_has_the_state_of_an_incident() -> None:
    states = {"start": "fence on lobby", "update": "fence on lobby, goes on", "end": "fence on lobby, has ended"}
    for state, title in states.items():
        assert formatted("ntfy", Incident, state=state).headers["title"] == title
    assert formatted("ntfy", Incident, state="end", not_found=True).headers["title"] == "fence on lobby, a false alarm"
    body = formatted("ntfy", Incident, verification="rejected", late=True, zone="yard").body.decode()
    assert body.startswith("intrusion at yard, warning, rejected, found late, 2026-11-24")


def test_an_unknown_format_is_an_error() -> None:
    with pytest.raises(SettingError, match="WEBHOOK_FORMAT='teams' can't be used"):
        load(WebhookSettings, {"WEBHOOK_URL": "https://example.org/", "WEBHOOK_FORMAT": "teams"})
