"""The endpoint of a site file: used, changed and removed while the webhook runs, and no event is lost."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
import structlog
from aiohttp import web
from nats.aio.client import Client
from prometheus_client import REGISTRY

import services.webhook.__main__ as webhook
from services.webhook.settings import WebhookSettings
from services.webhook.start import Beginning, Start
from shared.client import secret_entries
from shared.contract import endpoint, names
from shared.contract.endpoint import EndpointSettings
from shared.contract.events import Alert, Incident
from shared.runtime.telemetry import Health
from tests.support.processes.command_line import COMMAND, tidegate_on
from tests.support.processes.service import serving
from tests.support.waiting import patience_s, until
from tests.support.worlds.webhook_service import SECRET, all_answered, is_signed, letters, receiver, sending
from tests.support.worlds.webhook_world import Receiver, answers, say
from tidegate.local.server import NatsServer

__all__ = ["receiver"]


@pytest_asyncio.fixture
async def other() -> AsyncIterator[Receiver]:
    endpoint_ = Receiver()
    await endpoint_.start()
    yield endpoint_
    await endpoint_.stop()


def following(server: NatsServer, *, until_ready: bool = True) -> contextlib.AbstractAsyncContextManager[Health]:
    """The webhook service without WEBHOOK_URL, ready."""
    return serving(server, "webhook", webhook.run, WebhookSettings(), until_ready=until_ready)


async def store(client: Client, url: str | None, **fields: object) -> None:
    """Write the endpoint as `tidegate apply` does; None removes it."""
    settings = EndpointSettings(url=url, **{"secret": SECRET} | fields) if url else None  # type: ignore[arg-type]
    value = endpoint.encode(settings) if settings else None
    await secret_entries.write(client.jetstream(), names.ENDPOINT, endpoint.KEY, value)


def unusable() -> float:
    return REGISTRY.get_sample_value("tidegate_webhook_unusable_endpoints_total") or 0.0


async def test_an_endpoint_comes_before_or_after_the_service(
    server: NatsServer, admin: Client, receiver: Receiver
) -> None:
    before = await say(admin, 1)
    async with following(server, until_ready=False) as health:
        await until(lambda: "add 'webhook' to the site file" in (health.ready or ""))
        waiting = await say(admin, 2)
        info = await admin.jetstream().consumer_info(names.EVENTS, "webhook")
        assert not info.num_waiting and not info.num_ack_pending, "nothing is pulled"
        await store(admin, receiver.url)
        await until(lambda: health.ready is None)
        # A first start begins with its first endpoint: what the webhook never had an address for is of before.
        await all_answered(admin)
        first = await say(admin, 3)
        await all_answered(admin)
    second = await say(admin, 4)
    async with following(server):
        await all_answered(admin)
    assert receiver.ids == [first, second] and {before, waiting}.isdisjoint(receiver.ids)
    assert all(is_signed(request) for request in receiver.requests)


async def test_it_is_ready_once_its_start_is_recorded(
    server: NatsServer, admin: Client, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = Beginning.record

    async def later(self: Beginning, since: dt.datetime | None) -> Start:
        await asyncio.sleep(0.5)
        return await record(self, since)

    monkeypatch.setattr(Beginning, "record", later)
    await store(admin, receiver.url)
    async with following(server):
        assert (await (await admin.jetstream().key_value(names.WEBHOOK)).get("start")).value
        id = await say(admin, 1)
        await all_answered(admin)
    assert receiver.ids == [id]


async def test_events_that_failed_are_tried_at_the_new_endpoint_without_their_delay(
    server: NatsServer, admin: Client, receiver: Receiver, other: Receiver
) -> None:
    # Ten minutes: this test ends only if they are not waited for.
    receiver.then = answers(503, Retry_After="600")
    await store(admin, receiver.url)
    async with following(server) as health:
        events = [await say(admin, n) for n in range(3)]
        await until(lambda: health.ready and receiver.requests)
        await store(admin, other.url)
        await all_answered(admin)
        assert health.ready is None
    assert sorted(other.ids) == sorted(events) and await letters(admin) == []


async def test_each_event_waits_alone_and_none_waits_for_the_old_endpoint(
    server: NatsServer, admin: Client, receiver: Receiver, other: Receiver
) -> None:
    # Not of the endpoint as a whole: the breaker stays closed, and each event has its delay.
    receiver.replies = [answers(400, Retry_After="600"), answers(400, Retry_After="600")]
    await store(admin, receiver.url)
    async with following(server) as health:
        failed = [await say(admin, n) for n in range(2)]
        await until(lambda: len(receiver.requests) == 2)
        fine = await say(admin, 2)
        await until(lambda: fine in receiver.ids)
        await store(admin, other.url)
        await all_answered(admin)
        assert health.ready is None
    assert sorted(other.ids) == sorted(failed) and receiver.ids.count(fine) == 1


async def test_a_request_in_flight_finishes_at_the_former_endpoint(
    server: NatsServer, admin: Client, receiver: Receiver, other: Receiver
) -> None:
    gate = asyncio.Event()

    async def hang(request: web.Request) -> web.StreamResponse:
        await gate.wait()
        return web.Response(status=204)

    receiver.then = hang
    await store(admin, receiver.url)
    async with following(server):
        slow = await say(admin, 1)
        await until(lambda: receiver.requests)
        await store(admin, other.url, format="slack", events=("alerts", "incidents"))
        # Events before the change is known still go to the former one.
        later = []
        while not other.requests:
            later.append(await say(admin, len(later) + 2, Incident))
            await asyncio.sleep(0.1)
        gate.set()
        await all_answered(admin)
    assert slow in receiver.ids and slow not in other.ids
    assert b"text" in other.requests[0].body and other.requests[0].id == later[-1]


async def test_a_removed_endpoint_leaves_events_waiting(server: NatsServer, admin: Client, receiver: Receiver) -> None:
    await store(admin, receiver.url)
    async with following(server) as health:
        await say(admin, 1)
        await all_answered(admin)
        receiver.then = answers(500)
        failing = await say(admin, 2)
        await until(lambda: failing in receiver.ids)
        with structlog.testing.capture_logs() as logs:
            await store(admin, None)
            await until(lambda: any("no endpoint" in str(line["event"]) for line in logs))
        waiting = await say(admin, 3)
        assert "there is no endpoint" in (health.ready or "")
        tried = len(receiver.requests)
        receiver.then = answers(204)
        await store(admin, receiver.url)
        await all_answered(admin)
    assert sorted(receiver.ids[tried:]) == sorted([failing, waiting]) and await letters(admin) == []


@pytest.mark.parametrize(
    "entry",
    [
        b"https://evil.example/hunter2",
        b"{" * 10_000,
        b'{"url": "file:///etc/passwd?hunter2"}',
        b'{"url": "https://\\u2024/hunter2"}',
        b'{"url": "https://h:0/hunter2"}',
        b'{"url": "https://h/hunter2", "secret": "whsec_hunter2"}',
        b'{"url": "https://h/hunter2", "events": ["counts"]}',
        b'{"url": "https://h/hunter2\\u0000"}',
    ],
)
async def test_an_unusable_entry_leaves_the_last_good_endpoint_in_use(
    server: NatsServer, admin: Client, receiver: Receiver, entry: bytes, tmp_path: Path
) -> None:
    await store(admin, receiver.url)
    before = unusable()
    async with following(server) as health:
        with structlog.testing.capture_logs() as logs:
            await (await admin.jetstream().key_value(names.ENDPOINT)).put(endpoint.KEY, entry)
            await until(lambda: unusable() > before)
            id = await say(admin, 1)
            await all_answered(admin)
        assert health.ready is None and receiver.ids == [id]
        errors = [line for line in logs if line["log_level"] == "error"]
        assert len(errors) == 1 and "hunter2" not in str(logs) and unusable() == before + 1
        async with asyncio.timeout(patience_s()):
            while "unusable" not in (shown := (await tidegate_on(server, "webhook", "status", cwd=tmp_path)).stdout):
                await asyncio.sleep(0.2)
        assert "hunter2" not in shown and f"endpoint      http://127.0.0.1:{receiver.port}: alerts" in shown


async def test_an_unusable_first_entry_is_the_reason_why_it_is_not_ready(
    server: NatsServer, admin: Client, receiver: Receiver
) -> None:
    await (await admin.jetstream().key_value(names.ENDPOINT)).put(endpoint.KEY, b"hunter2")
    with structlog.testing.capture_logs() as logs:
        async with following(server, until_ready=False) as health:
            await until(lambda: "is no endpoint" in (health.ready or ""))
            await store(admin, receiver.url)
            await until(lambda: health.ready is None)
            id = await say(admin, 1)
            await all_answered(admin)
    assert receiver.ids == [id] and "hunter2" not in str(logs)


async def test_the_environment_overrides_the_site_and_the_log_says_so(
    server: NatsServer, admin: Client, receiver: Receiver, other: Receiver
) -> None:
    await store(admin, other.url)
    with structlog.testing.capture_logs() as logs:
        async with sending(server, receiver.url):
            id = await say(admin, 1)
            await all_answered(admin)
            await until(lambda: any("WEBHOOK_URL overrides" in str(line["event"]) for line in logs))
            await store(admin, other.url + "/b")
            second = await say(admin, 2)
            await all_answered(admin)
    assert receiver.ids == [id, second] and other.requests == []


async def test_status_and_test_work_as_the_identity_of_the_pod(
    server: NatsServer, admin: Client, receiver: Receiver, tmp_path: Path
) -> None:
    async def run(*arguments: str, **more: str) -> tuple[int, str]:
        environment = os.environ | server.environment("webhook") | more
        process = await asyncio.create_subprocess_exec(
            *COMMAND, "webhook", *arguments, env=environment, cwd=tmp_path,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        out, _ = await process.communicate()
        return process.returncode or 0, out.decode()

    code, out = await run("test")
    assert code == 1 and "there is no endpoint: add 'webhook' to the site file" in out
    await store(admin, receiver.url + "/T0KEN", events=("incidents",))
    code, out = await run("test")
    assert code == 0 and out.endswith("(signed)\n") and "T0KEN" not in out, out
    (request,) = receiver.requests
    assert is_signed(request) and request.path.endswith("/T0KEN")
    receiver.then = answers(401)
    code, out = await run("test")
    assert code == 1 and "check webhook.secret of the site file" in out and "T0KEN" not in out
    code, out = await run("status")
    assert code == 0 and "running       no" in out and "Traceback" not in out, out
    assert f"endpoint      http://127.0.0.1:{receiver.port}: incidents\n" in out and "T0KEN" not in out
    async with following(server):
        async with asyncio.timeout(patience_s()):
            while "running       yes" not in (shown := (await run("status"))[1]):
                await asyncio.sleep(0.2)
        assert f"http://127.0.0.1:{receiver.port}: incidents" in shown and "T0KEN" not in shown


def test_only_alerts_have_a_default() -> None:
    assert EndpointSettings(url="https://h/").events == (Alert.kind,)
