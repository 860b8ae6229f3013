"""The webhook service over a real NATS server, and a real HTTP server for the endpoint."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import datetime as dt
import hashlib
import hmac
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
import structlog
from aiohttp import web
from nats.aio.client import Client
from prometheus_client import REGISTRY, generate_latest

import services.webhook.__main__ as webhook
from services.webhook import signature
from services.webhook.endpoint import retry_after
from services.webhook.outgoing import read
from services.webhook.sender import DELAYS
from services.webhook.settings import WebhookSettings
from shared.client import dlq
from shared.contract import deadletters, events, names
from shared.contract.events import Alert, Incident
from shared.runtime.errors import BadMessage, SettingError
from shared.runtime.settings import load
from shared.runtime.telemetry import Health
from tests.support.processes.service import serving
from tests.support.waiting import patience_s, until
from tests.support.worlds.webhook_world import NOW, TRACE, Posted, Receiver, answers, incident, say
from tidegate.local.server import NatsServer

KEY = bytes(range(32))
SECRET = "whsec_" + base64.b64encode(KEY).decode()


@pytest_asyncio.fixture
async def receiver() -> AsyncIterator[Receiver]:
    endpoint = Receiver()
    await endpoint.start()
    yield endpoint
    await endpoint.stop()


def sending(server: NatsServer, url: str, **changes: Any) -> contextlib.AbstractAsyncContextManager[Health]:
    settings = WebhookSettings(webhook_url=url, **{"webhook_secret": SECRET} | changes)
    return serving(server, "webhook", webhook.run, settings)


async def all_answered(client: Client) -> None:
    """Wait until the consumer is done with all of the stream. Just after a publish it may not know of it yet."""
    js = client.jetstream()
    last = (await js.stream_info(names.EVENTS)).state.last_seq
    async with asyncio.timeout(patience_s()):
        while (await js.consumer_info(names.EVENTS, "webhook")).ack_floor.stream_seq < last:
            await asyncio.sleep(0.05)


async def letters(client: Client) -> list[dlq.DeadLetter]:
    return [x async for x in dlq.entries(client)]


def is_signed(posted: Posted, key: bytes = KEY) -> bool:
    """As a receiver tells, without any code of ours."""
    content = f"{posted.headers['webhook-id']}.{posted.headers['webhook-timestamp']}.".encode() + posted.body
    expected = base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()
    return hmac.compare_digest(f"v1,{expected}", posted.headers["webhook-signature"])


def count(outcome: str) -> float:
    return REGISTRY.get_sample_value("tidegate_webhook_requests_total", {"outcome": outcome}) or 0.0


# ---- a request


async def test_an_alert_is_posted_once_as_it_is_signed_and_with_its_headers(
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


async def test_a_plain_secret_signs_by_its_bytes_and_none_does_not_sign(
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
    key = signature.key_of("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    signed = signature.sign(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_headers_are_percent_encoded_as_cloudevents_says_and_no_other_passes() -> None:
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


# ---- which events


async def test_incidents_are_acknowledged_and_not_sent_unless_asked_for(
    server: NatsServer, admin: Client, receiver: Receiver
) -> None:
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
def test_what_is_no_event_of_ours_is_told_by_the_field(body: bytes, changes: dict[str, str], why: str) -> None:
    headers = events.headers(incident(Alert, 1), id="x", source="/s") | changes
    with pytest.raises(BadMessage, match=why):
        read("events.alerts.lobby", headers, body)


async def test_what_is_no_event_of_ours_is_dead_lettered_and_not_sent(
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


# ---- an endpoint that fails


async def test_a_failure_that_passes_costs_nothing(server: NatsServer, admin: Client, receiver: Receiver) -> None:
    receiver.replies = [answers(500)]
    failed = count("failed")
    async with sending(server, receiver.url) as health:
        id = await say(admin, 1)
        await all_answered(admin)
        assert health.ready is None
    first, second = receiver.requests
    assert (first.id, second.id, first.body) == (id, id, second.body) and is_signed(first) and is_signed(second)
    assert count("failed") - failed == 1 and await letters(admin) == []


async def test_retry_after_is_waited_for_and_signed_anew(server: NatsServer, admin: Client, receiver: Receiver) -> None:
    receiver.replies = [answers(429, Retry_After="2")]
    async with sending(server, receiver.url) as health:
        await say(admin, 1)
        await until(lambda: health.ready)
        assert "answers 429 Too Many Requests" in str(health.ready)
        other = await say(admin, 2)
        await all_answered(admin)
        assert health.ready is None
    first, *rest = receiver.requests
    assert all(is_signed(r) for r in receiver.requests) and sorted(r.id for r in rest) == sorted([first.id, other])
    asked = int(first.headers["webhook-timestamp"]) + 2
    assert all(int(r.headers["webhook-timestamp"]) >= asked for r in rest), "of the endpoint, not of one event"


def test_retry_after_is_seconds_or_a_date_and_ten_minutes_at_most() -> None:
    assert retry_after("120", 0) == 120
    assert retry_after("Tue, 24 Nov 2026 13:00:30 GMT", NOW.timestamp()) == 30
    assert retry_after("Tue, 24 Nov 2026 12:00:00 GMT", NOW.timestamp()) == 0
    assert [retry_after(x, 0) for x in ("", "soon", "-1", "1.5", "²", "Tue, 99 Nov 2026 12:00:00 GMT")] == [None] * 6
    assert DELAYS.after(1, 120) == 120 and DELAYS.after(1, 10**9) == 600
    assert all(2 ** (n - 1) / 2 <= DELAYS.after(n) <= 2 ** (n - 1) for n in range(1, 9))
    assert 150 <= DELAYS.after(10_000, 3) <= 300


async def test_while_nothing_listens_few_events_are_tried_and_then_all_are_delivered(
    server: NatsServer, admin: Client, receiver: Receiver
) -> None:
    await receiver.stop()
    away, delivered = count("away"), count("delivered")
    async with sending(server, receiver.url, webhook_parallel=2) as health:
        said = [await say(admin, n) for n in range(20)]
        await until(lambda: health.ready)
        assert str(health.ready).startswith(f"http://127.0.0.1:{receiver.port} takes no events since 20")
        assert "can't be reached" in str(health.ready) and "tried again at 20" in str(health.ready)
        await asyncio.sleep(1)  # clock: tries without a pause would be hundreds
        info = await admin.jetstream().consumer_info(names.EVENTS, "webhook")
        assert info.num_pending and count("away") - away < 10, "left alone, but for a probe now and then"
        await receiver.start()
        await all_answered(admin)
        assert health.ready is None
    assert sorted(receiver.ids) == sorted(said) and count("delivered") - delivered == 20


async def test_one_event_that_hangs_or_fails_holds_up_no_other(
    server: NatsServer, admin: Client, receiver: Receiver
) -> None:
    gate = asyncio.Event()

    async def by_event(request: web.Request) -> web.StreamResponse:
        n = json.loads(await request.read())["incident"]
        if n == "i-0":
            await gate.wait()
        return web.Response(status=400 if n == "i-1" and not gate.is_set() else 200)

    receiver.then = by_event
    async with sending(server, receiver.url, webhook_parallel=3) as health:
        slow, refused = await say(admin, 0), await say(admin, 1)
        await until(lambda: {slow, refused} <= set(receiver.ids))
        others = [await say(admin, n) for n in range(2, 30)]
        await until(lambda: set(others) <= set(receiver.ids))
        assert health.ready is None and receiver.ids.count(slow) == 1
        gate.set()
        await all_answered(admin)
    assert all(receiver.ids.count(id) == 1 for id in [slow, *others]) and receiver.ids.count(refused) > 1
    assert await letters(admin) == []


async def test_an_event_that_has_no_answer_in_time_is_tried_again(
    server: NatsServer, admin: Client, receiver: Receiver
) -> None:
    async def hang(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(3600)
        raise AssertionError("unreachable")

    receiver.replies = [hang]
    timeouts = count("timeout")
    async with sending(server, receiver.url, webhook_timeout_s=2.0):
        id = await say(admin, 1)
        await all_answered(admin)
    assert receiver.ids == [id, id] and count("timeout") - timeouts == 1


async def test_a_request_over_the_ack_wait_is_not_made_twice(
    server: NatsServer, admin: Client, receiver: Receiver
) -> None:
    js = admin.jetstream()
    config = (await js.consumer_info(names.EVENTS, "webhook")).config
    config.ack_wait = 3.0
    await js.add_consumer(names.EVENTS, config)

    async def slowly(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(6)
        return web.Response()

    receiver.then = slowly
    async with sending(server, receiver.url):
        id = await say(admin, 1)
        await all_answered(admin)
        assert (await js.consumer_info(names.EVENTS, "webhook")).delivered.consumer_seq == 1
    assert receiver.ids == [id]


# ---- dead letters


async def test_a_redirect_is_not_followed_and_what_is_too_old_is_a_dead_letter_that_can_be_replayed(
    server: NatsServer, admin: Client, receiver: Receiver
) -> None:
    receiver.replies = [answers(307, Location="/elsewhere"), answers(500)]
    async with sending(server, receiver.url, webhook_give_up_s=1e-6):
        said = [await say(admin, 1)]
        await all_answered(admin)
        said.append(await say(admin, 2))
        await all_answered(admin)
        redirected, failed = await letters(admin)
        assert receiver.ids == said and {r.path for r in receiver.requests} == {"/hooks"}
        await dlq.replay(admin, failed)
        await all_answered(admin)
    where = f"http://127.0.0.1:{receiver.port}"
    assert f"{where} answers 307 Temporary Redirect, to {where}: redirects are not followed" in redirected.reason
    assert redirected.reason.startswith("not delivered within WEBHOOK_GIVE_UP_S=1e-06 s: ")
    assert "answers 500 Internal Server Error" in failed.reason and failed.service == "webhook"
    assert receiver.ids == [*said, said[1]] and is_signed(receiver.requests[2])


async def test_gone_is_a_dead_letter_at_once(server: NatsServer, admin: Client, receiver: Receiver) -> None:
    receiver.replies = [answers(410)]
    async with sending(server, receiver.url) as health:
        said = [await say(admin, 1)]
        await all_answered(admin)
        said.append(await say(admin, 2))
        await all_answered(admin)
        assert health.ready is None
    (letter,) = await letters(admin)
    assert receiver.ids == said and "answers 410 Gone" in letter.reason and letter.deliveries == 1
    assert letter.payload == receiver.requests[0].body


async def test_when_the_endpoint_stays_away_all_that_is_too_old_is_buried_and_not_asked_for(
    server: NatsServer, admin: Client, receiver: Receiver
) -> None:
    await receiver.stop()
    away = count("away")
    async with sending(server, receiver.url, webhook_parallel=2, webhook_give_up_s=1e-6):
        said = [await say(admin, n, Incident if n % 5 == 4 else Alert) for n in range(30)]
        await all_answered(admin)
    found = await letters(admin)
    assert len(found) == len([id for id in said if "/alerts/" in id]) == 24
    assert all("can't be reached" in x.reason for x in found) and count("away") - away < 10


# ---- when it is told to go


async def test_a_drain_lets_a_request_end(server: NatsServer, admin: Client, receiver: Receiver) -> None:
    gate = asyncio.Event()

    async def waits(request: web.Request) -> web.StreamResponse:
        await gate.wait()
        return web.Response()

    async def opens_it(health: Health) -> None:
        await until(lambda: health.ready == "draining")
        gate.set()

    receiver.then = waits
    async with sending(server, receiver.url) as health:
        await say(admin, 1)
        await until(lambda: receiver.requests)
        opening = asyncio.create_task(opens_it(health))
    await opening
    info = await admin.jetstream().consumer_info(names.EVENTS, "webhook")
    assert (info.num_pending, info.num_ack_pending, info.num_redelivered) == (0, 0, 0)


async def test_a_drain_hands_back_what_does_not_end_and_begins_nothing(
    server: NatsServer, admin: Client, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.webhook.sender.GRACE_S", 0.5)
    gate = asyncio.Event()

    async def waits(request: web.Request) -> web.StreamResponse:
        await gate.wait()
        return web.Response()

    receiver.then = waits
    async with sending(server, receiver.url, webhook_parallel=2):
        said = [await say(admin, n) for n in range(5)]
        await until(lambda: len(receiver.requests) == 2)
    gate.set()
    assert len(receiver.requests) == 2
    pulling = await admin.jetstream().pull_subscribe_bind("webhook", names.EVENTS)
    taken: list[str] = []
    while len(taken) < 5:  # without an answer they would come after the ack wait, and this would end before
        taken += [(m.headers or {})["ce-id"] for m in await pulling.fetch(5, timeout=5)]
    assert sorted(taken) == sorted(said)


async def test_as_a_process_it_ends_by_sigterm(server: NatsServer, admin: Client, receiver: Receiver) -> None:
    environment = {"WEBHOOK_URL": receiver.url, "LOG_FORMAT": "json"} | server.environment("webhook")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "services.webhook"), env=os.environ | environment, stderr=subprocess.PIPE
    )
    assert process.stderr
    try:
        while b'"ready"' not in (line := await process.stderr.readline()):
            assert line
        id = await say(admin, 1)
        await until(lambda: receiver.requests)
        process.send_signal(signal.SIGTERM)
        log = await process.stderr.read()
        assert await process.wait() == 0 and b'"drained"' in log
    finally:
        if process.returncode is None:
            process.kill()
    assert receiver.ids == [id] and "webhook-signature" not in receiver.requests[0].headers
    assert b"requests are not signed" in log


# ---- secrets and settings


async def test_no_secret_is_logged_counted_told_or_buried(
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
            while "can't be reached" not in str(health.ready):  # until the next probe what comes is buried unasked
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
    told = f"{logs} {tells} {dead_lettered} {generate_latest().decode()}"
    for secret in ("p4ss", "T0KEN", "S1G", basic, SECRET, SECRET[6:], "/hooks"):
        assert secret not in told, secret


@pytest.mark.parametrize(
    ("environ", "why"),
    [
        ({}, "WEBHOOK_URL is not set: .*https://example.org"),
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
        ({"WEBHOOK_EVENTS": "alerts,counts"}, "WEBHOOK_EVENTS='alerts,counts' can't be used: give alerts"),
        ({"WEBHOOK_EVENTS": ","}, "WEBHOOK_EVENTS=',' can't be used"),
        ({"WEBHOOK_TIMEOUT_S": "0"}, "WEBHOOK_TIMEOUT_S='0' can't be used"),
        ({"WEBHOOK_PARALLEL": "0"}, "WEBHOOK_PARALLEL='0' can't be used"),
        ({"WEBHOOK_GIVE_UP_S": "604800"}, "WEBHOOK_GIVE_UP_S='604800' can't be used"),
    ],
)
def test_a_setting_that_cannot_be_used_is_an_error_that_names_it_and_shows_no_secret(
    environ: dict[str, str], why: str
) -> None:
    good = {"WEBHOOK_URL": "https://example.org/"} if environ else {}
    with pytest.raises(SettingError, match=why) as raised:
        load(WebhookSettings, good | environ)
    assert "hidden" not in str(raised.value) and "aGlkZGVu" not in str(raised.value)


def test_the_url_is_split_into_what_is_said_and_what_is_not() -> None:
    settings = load(WebhookSettings, {"WEBHOOK_URL": "https://m%C3%A9:p%2F%40@[::1]:8443/a?b=c"})
    assert settings.url == "https://[::1]:8443/a?b=c" and settings.credentials == ("mé", "p/@")
    assert load(WebhookSettings, {"WEBHOOK_URL": "http://example.org"}).credentials is None


def test_help_lists_the_settings_and_without_a_url_it_does_not_start() -> None:
    shown = subprocess.run([sys.executable, "-m", "services.webhook", "--help"], capture_output=True, text=True)
    assert shown.returncode == 0
    for name in ("URL", "SECRET", "EVENTS", "TIMEOUT_S", "PARALLEL", "GIVE_UP_S"):
        assert f"WEBHOOK_{name} " in shown.stdout
    bare = {k: v for k, v in os.environ.items() if not k.startswith("WEBHOOK_")}
    failed = subprocess.run([sys.executable, "-m", "services.webhook"], capture_output=True, text=True, env=bare)
    assert failed.returncode == 2 and failed.stderr.startswith("webhook: WEBHOOK_URL is not set")
