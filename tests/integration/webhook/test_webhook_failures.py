"""Failing endpoints, and a stopping webhook service: no event is lost, and none is sent twice."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys

import pytest
from aiohttp import web
from nats.aio.client import Client

from services.webhook.endpoint import retry_after
from services.webhook.sender import DELAYS
from shared.client import dlq
from shared.contract import names
from shared.contract.events import Alert, Incident
from shared.runtime.telemetry import Health
from tests.support.waiting import until
from tests.support.worlds.webhook_service import all_answered, count, is_signed, letters, receiver, sending
from tests.support.worlds.webhook_world import NOW, Receiver, answers, say
from tidegate.local.server import NatsServer

__all__ = ["receiver"]


async def test_a_transient_failure_loses_no_event(server: NatsServer, admin: Client, receiver: Receiver) -> None:
    receiver.replies = [answers(500)]
    failed = count("failed")
    async with sending(server, receiver.url) as health:
        id = await say(admin, 1)
        await all_answered(admin)
        assert health.ready is None
    first, second = receiver.requests
    assert (first.id, second.id, first.body) == (id, id, second.body) and is_signed(first) and is_signed(second)
    assert count("failed") - failed == 1 and await letters(admin) == []


async def test_a_retry_waits_for_retry_after_and_has_a_new_signature(
    server: NatsServer, admin: Client, receiver: Receiver
) -> None:
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
    request_count = int(first.headers["webhook-timestamp"]) + 2
    assert all(int(r.headers["webhook-timestamp"]) >= request_count for r in rest), "of the endpoint, not of one event"


def test_retry_after_is_seconds_or_a_date_up_to_ten_minutes() -> None:
    assert retry_after("120", 0) == 120
    assert retry_after("Tue, 24 Nov 2026 13:00:30 GMT", NOW.timestamp()) == 30
    assert retry_after("Tue, 24 Nov 2026 12:00:00 GMT", NOW.timestamp()) == 0
    assert [retry_after(x, 0) for x in ("", "soon", "-1", "1.5", "²", "Tue, 99 Nov 2026 12:00:00 GMT")] == [None] * 6
    assert DELAYS.after(1, 120) == 120 and DELAYS.after(1, 10**9) == 600
    assert all(2 ** (n - 1) / 2 <= DELAYS.after(n) <= 2 ** (n - 1) for n in range(1, 9))
    assert 150 <= DELAYS.after(10_000, 3) <= 300


@pytest.mark.slow
async def test_an_absent_endpoint_gets_few_attempts_and_later_all_events(
    server: NatsServer, admin: Client, receiver: Receiver
) -> None:
    await receiver.stop()
    away, delivered = count("away"), count("delivered")
    async with sending(server, receiver.url, webhook_parallel=2) as health:
        events = [await say(admin, n) for n in range(20)]
        await until(lambda: health.ready)
        assert str(health.ready).startswith(f"http://127.0.0.1:{receiver.port} takes no events since 20")
        assert "can't be reached" in str(health.ready) and "tried again at 20" in str(health.ready)
        await asyncio.sleep(1)  # clock: tries without a pause would be hundreds
        info = await admin.jetstream().consumer_info(names.EVENTS, "webhook")
        assert info.num_pending and count("away") - away < 10, "left alone, but for a probe now and then"
        await receiver.start()
        await all_answered(admin)
        assert health.ready is None
    assert sorted(receiver.ids) == sorted(events) and count("delivered") - delivered == 20


async def test_a_hanging_or_failing_event_blocks_no_other(
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


async def test_an_event_without_a_timely_answer_is_retried(
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


@pytest.mark.slow
async def test_a_request_longer_than_the_ack_wait_is_not_repeated(
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


async def test_a_redirect_is_not_followed_and_an_old_event_is_dead_lettered_and_replayable(
    server: NatsServer, admin: Client, receiver: Receiver
) -> None:
    receiver.replies = [answers(307, Location="/elsewhere"), answers(500)]
    async with sending(server, receiver.url, webhook_give_up_s=1e-6):
        events = [await say(admin, 1)]
        await all_answered(admin)
        events.append(await say(admin, 2))
        await all_answered(admin)
        redirected, failed = await letters(admin)
        assert receiver.ids == events and {r.path for r in receiver.requests} == {"/hooks"}
        await dlq.replay(admin, failed)
        await all_answered(admin)
    where = f"http://127.0.0.1:{receiver.port}"
    assert f"{where} answers 307 Temporary Redirect, to {where}: redirects are not followed" in redirected.reason
    assert redirected.reason.startswith("not delivered within WEBHOOK_GIVE_UP_S=1e-06 s: ")
    assert "answers 500 Internal Server Error" in failed.reason and failed.service == "webhook"
    assert receiver.ids == [*events, events[1]] and is_signed(receiver.requests[2])


async def test_status_410_is_dead_lettered_immediately(server: NatsServer, admin: Client, receiver: Receiver) -> None:
    receiver.replies = [answers(410)]
    async with sending(server, receiver.url) as health:
        events = [await say(admin, 1)]
        await all_answered(admin)
        events.append(await say(admin, 2))
        await all_answered(admin)
        assert health.ready is None
    (letter,) = await letters(admin)
    assert receiver.ids == events and "answers 410 Gone" in letter.reason and letter.deliveries == 1
    assert letter.payload == receiver.requests[0].body


async def test_old_events_of_an_absent_endpoint_are_dead_lettered_without_a_request(
    server: NatsServer, admin: Client, receiver: Receiver
) -> None:
    await receiver.stop()
    away = count("away")
    async with sending(server, receiver.url, webhook_parallel=2, webhook_give_up_s=1e-6):
        events = [await say(admin, n, Incident if n % 5 == 4 else Alert) for n in range(30)]
        await all_answered(admin)
    found = await letters(admin)
    assert len(found) == len([id for id in events if "/alerts/" in id]) == 24
    assert all("can't be reached" in x.reason for x in found) and count("away") - away < 10


async def test_a_drain_waits_for_a_running_request(server: NatsServer, admin: Client, receiver: Receiver) -> None:
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


async def test_a_drain_returns_unfinished_events_and_starts_none(
    server: NatsServer, admin: Client, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.webhook.sender.GRACE_S", 0.5)
    gate = asyncio.Event()

    async def waits(request: web.Request) -> web.StreamResponse:
        await gate.wait()
        return web.Response()

    receiver.then = waits
    async with sending(server, receiver.url, webhook_parallel=2):
        events = [await say(admin, n) for n in range(5)]
        await until(lambda: len(receiver.requests) == 2)
    gate.set()
    assert len(receiver.requests) == 2
    pulling = await admin.jetstream().pull_subscribe_bind("webhook", names.EVENTS)
    taken: list[str] = []
    while len(taken) < 5:  # without an answer redelivery would come after the ack wait, beyond the end of this test
        taken += [(m.headers or {})["ce-id"] for m in await pulling.fetch(5, timeout=5)]
    assert sorted(taken) == sorted(events)


async def test_the_process_ends_on_sigterm(server: NatsServer, admin: Client, receiver: Receiver) -> None:
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
