"""The webhook service over a real NATS server, and a real HTTP server for the endpoint."""

from __future__ import annotations

import asyncio
import base64
import datetime as dt
import json
import subprocess
import sys

import pytest
import structlog
from aiohttp import web
from nats.aio.client import Client
from prometheus_client import REGISTRY, generate_latest

from services.webhook import signature
from services.webhook.outgoing import read
from services.webhook.settings import WebhookSettings
from shared.contract import deadletters, endpoint, events
from shared.contract.endpoint import EndpointSettings
from shared.contract.events import Alert, Incident
from shared.runtime.errors import BadMessage, SettingError
from shared.runtime.settings import load
from tests.support.worlds.webhook_service import SECRET, all_answered, count, is_signed, letters, receiver, sending
from tests.support.worlds.webhook_world import TRACE, Receiver, answers, incident, say
from tidegate.local.server import NatsServer

__all__ = ["receiver"]


async def test_an_alert_is_posted_once_with_its_signature_and_headers(
    server: NatsServer, admin: Client, receiver: Receiver
) -> None:
    delivered, measured = count("delivered"), REGISTRY.get_sample_value("tidegate_webhook_latency_seconds_count")
    async with sending(server, receiver.url):
        id = await say(admin, 1)
        await all_answered(admin)
    (posted,) = receiver.requests
    assert is_signed(posted) and not is_signed(posted, b"another key")
    assert posted.body == events.encode(incident(Alert, 1)) and json.loads(posted.body)["reason"] == "Über den Zaun"
    h = posted.headers
    assert (h["ce-id"], h["webhook-id"], h["ce-source"]) == (id, id, "/tidegate/analytics")
    assert (h["ce-specversion"], h["ce-type"], h["ce-subject"]) == ("1.0", "tidegate.alerts.v1", "lobby")
    assert dt.datetime.fromisoformat(h["ce-time"]).tzinfo and h["content-type"] == "application/json"
    assert h["user-agent"].startswith("tidegate/") and h["traceparent"] == TRACE
    assert "authorization" not in h and not any(name.startswith("nats-") for name in h)
    assert count("delivered") - delivered == 1
    assert REGISTRY.get_sample_value("tidegate_webhook_latency_seconds_count") == (measured or 0) + 1
    assert await letters(admin) == []


async def test_a_plain_secret_signs_by_its_bytes_and_an_empty_one_does_not_sign(
    server: NatsServer, admin: Client, receiver: Receiver
) -> None:
    async with sending(server, receiver.url, webhook_secret="Schlüssel"):
        await say(admin, 1)
        await all_answered(admin)
    async with sending(server, receiver.url, webhook_secret=""):
        await say(admin, 2)
        await all_answered(admin)
    first, second = receiver.requests
    assert is_signed(first, "Schlüssel".encode())
    assert "webhook-signature" not in second.headers and second.headers["webhook-timestamp"].isdecimal()


def test_the_signature_is_that_of_the_published_vector() -> None:
    # standard-webhooks/standard-webhooks, libraries/python/tests/test_webhooks.py, test_sign_function.
    key = endpoint.key_of("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    signed = signature.sign(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_headers_are_percent_encoded_by_cloudevents_rules() -> None:
    event = incident(Alert, 1)
    given = events.headers(event, id='Euro € 😀 100% "x"\r\nevil: 1', source="/s") | {
        "ce-datacontenttype": "text/plain",
        "ce-Evil Name": "x",
        "content-type": "application/json\r\nx: y",
        "traceparent": "00-none",
        "authorization": "mine",
    }
    out = read("events.alerts.lobby", given, events.encode(event))
    assert out.headers["ce-id"] == "Euro%20%E2%82%AC%20%F0%9F%98%80%20100%25%20%22x%22%0D%0Aevil:%201" == out.id
    assert out.headers["content-type"] == "application/json"
    assert set(out.headers) == {
        *("ce-specversion", "ce-id", "ce-source", "ce-type", "ce-time", "ce-subject", "content-type")
    }


async def test_incidents_are_sent_only_if_configured(server: NatsServer, admin: Client, receiver: Receiver) -> None:
    async with sending(server, receiver.url):
        await say(admin, 1, Incident)
        alert = await say(admin, 2)
        await all_answered(admin)
    assert receiver.ids == [alert]
    async with sending(server, receiver.url, webhook_events="incidents"):
        update = await say(admin, 3, Incident)
        await say(admin, 4)
        await all_answered(admin)
    assert receiver.ids == [alert, update] and receiver.requests[1].headers["ce-type"] == "tidegate.incidents.v1"
    async with sending(server, receiver.url, webhook_events="alerts, incidents"):
        both = {await say(admin, 5, Incident), await say(admin, 6)}
        await all_answered(admin)
    assert set(receiver.ids[2:]) == both


BAD = [
    (b"not json", {}, "not an event of alerts"),
    (b'{"camera":"lobby"}', {}, "incident"),
    (b"\xff", {}, "not an event of alerts"),
    (b"[" * 5000, {}, "not an event of alerts"),
    (events.encode(incident(Alert, 1, camera="street")), {}, "says camera 'street'"),
    (events.encode(incident(Alert, 1)), {"ce-id": "", "ce-type": ""}, "without ce-id, ce-type"),
]


@pytest.mark.parametrize(("body", "changes", "why"), BAD)
def test_a_foreign_event_is_reported_with_its_field(body: bytes, changes: dict[str, str], why: str) -> None:
    headers = events.headers(incident(Alert, 1), id="x", source="/s") | changes
    with pytest.raises(BadMessage, match=why):
        read("events.alerts.lobby", headers, body)


async def test_a_foreign_event_is_dead_lettered_and_not_sent(
    server: NatsServer, admin: Client, receiver: Receiver
) -> None:
    dead = REGISTRY.get_sample_value("tidegate_webhook_dead_letters_total") or 0
    async with sending(server, receiver.url):
        for body, _, _ in BAD[:4]:
            await admin.jetstream().publish("events.alerts.lobby", body)
        good = await say(admin, 1)
        await all_answered(admin)
    assert receiver.ids == [good]
    found = {x.stream_seq: x for x in await letters(admin)}
    assert {x.service for x in found.values()} == {"webhook"} and len(found) == 4
    assert all(found[n].payload == body and why in found[n].reason for n, (body, _, why) in enumerate(BAD[:4], 1))
    assert REGISTRY.get_sample_value("tidegate_webhook_dead_letters_total") == dead + 4


async def test_a_replay_for_another_service_is_not_sent(server: NatsServer, admin: Client, receiver: Receiver) -> None:
    event = incident(Alert, 1)
    headers = events.headers(event, id="x", source="/s")
    async with sending(server, receiver.url):
        await admin.jetstream().publish(
            events.subject(event), events.encode(event), headers=headers | {deadletters.REPLAY_FOR: "search"}
        )
        mine = await say(admin, 2)
        await all_answered(admin)
    assert receiver.ids == [mine]


async def test_no_secret_is_in_logs_metrics_readiness_or_dead_letters(
    server: NatsServer, admin: Client, receiver: Receiver
) -> None:
    async def nonsense(request: web.Request) -> web.StreamResponse:
        assert request.transport
        request.transport.write(b"T0KEN p4ss@word \x00\r\n\r\n")
        request.transport.close()
        return web.Response()

    async def echoes(request: web.Request) -> web.StreamResponse:
        return web.Response(status=401, text=f"{request.url} {dict(request.headers)}")

    receiver.replies = [
        *(answers(301, Location="http://me:p4ss@127.0.0.1/hooks/T0KEN"), nonsense, echoes),
        answers(302, Location="http://[T0KEN"),
    ]
    url = receiver.url.replace("http://", "http://me:p4ss%40word@") + "/T0KEN?sig=S1G"
    tells: list[str] = []
    with structlog.testing.capture_logs() as logs:
        async with sending(server, url, webhook_give_up_s=1e-6) as health:
            for n in range(4):
                await say(admin, n)
                await all_answered(admin)
                tells.append(str(health.ready))
            await receiver.stop()
            n = 4
            # Until the next probe, events are dead-lettered without a request.
            while "can't be reached" not in str(health.ready):
                await say(admin, n := n + 1)
                await asyncio.sleep(0.1)
            tells.append(str(health.ready))
            await all_answered(admin)
    basic = base64.b64encode(b"me:p4ss@word").decode()
    assert {r.headers["authorization"] for r in receiver.requests} == {f"Basic {basic}"}
    assert {r.path for r in receiver.requests} == {"/hooks/T0KEN?sig=S1G"}
    dead_lettered = await letters(admin)
    assert len(dead_lettered) >= 5 and "check WEBHOOK_SECRET" in str(dead_lettered)
    assert any(line["event"] == "dead-lettered" for line in logs)
    reply = f"{logs} {tells} {dead_lettered} {generate_latest().decode()}"
    for secret in ("p4ss", "T0KEN", "S1G", basic, SECRET, SECRET[6:], "/hooks"):
        assert secret not in reply, secret


@pytest.mark.parametrize(
    ("environ", "why"),
    [
        ({"WEBHOOK_URL": "example.org/hidden"}, "WEBHOOK_URL is no URL of http or https: give one such as"),
        ({"WEBHOOK_URL": "ftp://hidden@example.org"}, "WEBHOOK_URL is no URL"),
        ({"WEBHOOK_URL": "https://me:hidden@:80/"}, "WEBHOOK_URL is no URL"),
        ({"WEBHOOK_URL": "https://me:hidden@host:99999/"}, "WEBHOOK_URL is no URL"),
        ({"WEBHOOK_URL": "https://me:hidden/1@host/"}, "WEBHOOK_URL is no URL.*%2F"),
        ({"WEBHOOK_URL": "https://me:hid@den/1@host/"}, "WEBHOOK_URL is no URL.*%40"),
        ({"WEBHOOK_URL": "https://a%3Ab:hidden@host/"}, "WEBHOOK_URL is no URL.*colon"),
        ({"WEBHOOK_URL": "https://[hidden"}, "WEBHOOK_URL is no URL"),
        ({"WEBHOOK_SECRET": "whsec_hidden"}, "WEBHOOK_SECRET can't be used: what follows whsec_ is not base64"),
        ({"WEBHOOK_SECRET": "whsec_aGlkZGVu"}, "WEBHOOK_SECRET can't be used: .* 6 bytes.* Make one"),
        ({"WEBHOOK_EVENTS": "alerts,counts"}, "WEBHOOK_EVENTS can't be used: give alerts"),
        ({"WEBHOOK_EVENTS": ","}, "WEBHOOK_EVENTS can't be used"),
        ({"WEBHOOK_TIMEOUT_S": "0"}, "WEBHOOK_TIMEOUT_S='0' can't be used"),
        ({"WEBHOOK_PARALLEL": "0"}, "WEBHOOK_PARALLEL='0' can't be used"),
        ({"WEBHOOK_GIVE_UP_S": "604800"}, "WEBHOOK_GIVE_UP_S='604800' can't be used"),
    ],
)
def test_an_unusable_setting_is_an_error_with_its_name_and_without_secrets(environ: dict[str, str], why: str) -> None:
    good = {"WEBHOOK_URL": "https://example.org/"}
    with pytest.raises(SettingError, match=why) as raised:
        load(WebhookSettings, good | environ)
    assert "hidden" not in str(raised.value) and "aGlkZGVu" not in str(raised.value)


def test_the_url_is_split_into_public_and_secret_parts() -> None:
    settings = EndpointSettings(url="https://m%C3%A9:p%2F%40@[::1]:8443/a?b=c")
    assert settings.bare_url == "https://[::1]:8443/a?b=c" and settings.credentials == ("mé", "p/@")
    assert settings.where == "https://[::1]:8443" and "m%C3%A9" not in repr(settings)
    assert EndpointSettings(url="http://example.org").credentials is None


def test_help_lists_the_settings() -> None:
    shown = subprocess.run([sys.executable, "-m", "services.webhook", "--help"], capture_output=True, text=True)
    assert shown.returncode == 0
    for name in ("URL", "SECRET", "EVENTS", "TIMEOUT_S", "PARALLEL", "GIVE_UP_S"):
        assert f"WEBHOOK_{name} " in shown.stdout
