"""Endpoints of Databricks, NIM and others: not there yet, too busy, closed to us, or without pages."""

from __future__ import annotations

import datetime as dt
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from nats.aio.client import Client

from services.vlm.endpoints.failures import Busy, Cold, Refused, RequestFailed, TooLong, of, retry_after
from services.vlm.endpoints.openai import ModelEndpoint
from shared import bus
from shared.client import dlq
from shared.contract.work import jobs
from shared.runtime.errors import Away
from tests.support.servers.openai_server import OpenAiServer, Reply, good, hang, refused
from tests.support.waiting import until
from tests.support.worlds.jobs_world import film, settled, stored_results, worker
from tidegate.local.server import NatsServer

NOW = dt.datetime(2026, 11, 24, 13, tzinfo=dt.UTC)


def databricks(*replies: Reply, then: Reply = good) -> OpenAiServer:
    """An endpoint that lists no models, and has no health page."""
    server = OpenAiServer(*replies, then=then, base="/serving-endpoints")
    server.health = server.lists = 404
    return server


def verify(n: int, seqs: list[int]) -> jobs.Verify:
    return jobs.Verify(camera="lobby", incident=f"i-{n}", prompt="A tram is there.", segments=seqs)


async def letters(client: Client) -> list[dlq.DeadLetter]:
    return [x async for x in dlq.entries(client)]


async def redelivered(client: Client) -> int:
    return (await client.jetstream().consumer_info("VLM", "vlm-verify")).num_redelivered or 0


def asks_for_one_token(body: dict[str, Any]) -> bool:
    return body["max_tokens"] == 1


async def test_an_endpoint_without_pages_is_probed_by_a_token_before_it_gets_jobs(
    server: NatsServer, admin: Client
) -> None:
    seqs = await film(admin, 2)
    async with databricks() as endpoint, worker(server, endpoint.url, vlm_model="qwen-vl"):
        await bus.publish_job(admin, verify(1, seqs))
        await settled(admin)
        first, second = endpoint.requests
    assert asks_for_one_token(first) and not asks_for_one_token(second)
    assert (first["model"], second["model"]) == ("qwen-vl", "qwen-vl")
    assert len(await stored_results(admin)) == 1


@pytest.mark.slow
@pytest.mark.parametrize("lists", [200, 404])
async def test_an_endpoint_that_scales_from_zero_is_waited_for_with_the_job_in_flight(
    server: NatsServer, admin: Client, lists: int
) -> None:
    """Also where it lists its models meanwhile. In flight for longer than VLM_OUTAGE_TIMEOUT_S, and delivered once."""
    seqs = await film(admin, 2)
    async with databricks() as endpoint:
        endpoint.lists = lists
        async with worker(server, endpoint.url, vlm_model="fake", vlm_outage_timeout_s=0.2) as health:
            endpoint.then = refused(503, "The endpoint is scaling up")
            await bus.publish_job(admin, verify(1, seqs))
            await until(lambda: health.ready and "not there yet" in health.ready and "scaling up" in health.ready)
            request_count = len(endpoint.requests)
            await until(lambda: len(endpoint.requests) >= request_count + 3)
            assert all(map(asks_for_one_token, endpoint.requests[request_count:]))
            endpoint.then = good
            await settled(admin)
            assert await redelivered(admin) == 0
    assert len(await stored_results(admin)) == 1 and await letters(admin) == []


@pytest.mark.slow
async def test_an_endpoint_that_holds_requests_while_it_starts_loses_no_job(server: NatsServer, admin: Client) -> None:
    """For longer than VLM_TIMEOUT_S: it is indistinguishable from a hung one, and the worker loses no job."""
    seqs = await film(admin, 2)
    hasty = {"vlm_timeout_s": 0.3, "vlm_outage_timeout_s": 0.5}
    async with databricks() as endpoint, worker(server, endpoint.url, vlm_model="fake", **hasty) as health:
        endpoint.then = hang
        for n in range(4):
            await bus.publish_job(admin, verify(n, seqs))
        await until(lambda: health.ready and "answers nothing: no answer within VLM_TIMEOUT_S" in health.ready)
        request_count = len(endpoint.requests)
        await until(lambda: len(endpoint.requests) >= request_count + 4)
        assert all(map(asks_for_one_token, endpoint.requests[request_count:]))
        endpoint.then = good
        await settled(admin)
    assert sorted(event.job for _, event in await stored_results(admin)) == [f"i-{n}" for n in range(4)]
    assert await letters(admin) == []


async def test_a_nim_that_loads_its_model_gets_no_request(server: NatsServer, admin: Client) -> None:
    seqs = await film(admin, 2)
    async with OpenAiServer() as endpoint:
        endpoint.health, endpoint.ready = 404, 503
        found = ModelEndpoint(endpoint.url, key=lambda: "", timeout_s=5)
        async with found:
            with pytest.raises(Cold, match="/health/ready answers 503"):
                await found.look("fake")
        endpoint.ready = 200
        async with worker(server, endpoint.url):
            await bus.publish_job(admin, verify(1, seqs))
            await settled(admin)
    assert len(endpoint.requests) == 1 and len(await stored_results(admin)) == 1


@pytest.mark.slow
async def test_a_key_that_may_only_list_models_loses_no_job(
    server: NatsServer, admin: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A public list of models does not verify a key. A new key applies without a restart."""
    seqs = await film(admin, 2)
    key = tmp_path / "key"
    key.write_text("nvapi-old")
    monkeypatch.setenv("VLM_KEY_FILE", str(key))

    async def guarded(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        allowed = request.headers["Authorization"] == "Bearer nvapi-new"
        return await (good if allowed else refused(403, "Authorization failed"))(request, body)

    async with OpenAiServer(then=guarded) as endpoint, worker(server, endpoint.url, vlm_outage_timeout_s=0.2) as health:
        await bus.publish_job(admin, verify(1, seqs))
        await until(lambda: health.ready and "set VLM_KEY or VLM_KEY_FILE" in health.ready)
        request_count = len(endpoint.requests)
        await until(lambda: len(endpoint.requests) >= request_count + 4)
        assert all(map(asks_for_one_token, endpoint.requests[request_count:])), "frames are for whom the key is good"
        key.write_text("nvapi-new")
        await settled(admin)
    assert len(await stored_results(admin)) == 1 and await letters(admin) == []


@pytest.mark.slow
async def test_a_missing_model_loses_no_job(server: NatsServer, admin: Client) -> None:
    seqs = await film(admin, 2)
    async with (
        databricks() as endpoint,
        worker(server, endpoint.url, vlm_model="fake", vlm_outage_timeout_s=0.2) as health,
    ):
        endpoint.then = refused(404, "Endpoint with name 'fake' does not exist")
        await bus.publish_job(admin, verify(1, seqs))
        await until(lambda: health.ready and "correct VLM_MODEL" in health.ready)
        request_count = len(endpoint.requests)
        await until(lambda: len(endpoint.requests) >= request_count + 4)
        endpoint.then = good
        await settled(admin)
    assert len(await stored_results(admin)) == 1 and await letters(admin) == []


async def test_an_overloaded_endpoint_is_up() -> None:
    busy = databricks(then=refused(429, "REQUEST_LIMIT_EXCEEDED"))
    async with busy, ModelEndpoint(busy.url, key=lambda: "", timeout_s=5) as endpoint:
        assert (await endpoint.look("fake")).models == []
        busy.then = refused(500, "broken")
        with pytest.raises(Away, match="answers nothing: 500: broken"):
            await endpoint.look("fake")


# ---- what errors mean


@pytest.mark.parametrize(
    ("status", "headers", "means"),
    [
        (503, {}, Cold),
        (503, {"Retry-After": "3"}, Busy),
        (429, {}, Busy),
        (401, {}, Refused),
        (403, {}, Refused),
        (404, {}, Refused),
        (307, {}, Refused),
        (413, {}, TooLong),
        (504, {}, RequestFailed),
    ],
)
def test_each_error_is_classified(status: int, headers: dict[str, str], means: type[Exception]) -> None:
    assert type(of(status, '{"error_code":"X","message":"said"}', headers)) is means


@given(st.integers(0, 10**8))
def test_the_wait_is_read_from_seconds_and_dates(seconds: int) -> None:
    assert retry_after(str(seconds), NOW) == seconds
    assert retry_after(format_datetime(NOW + dt.timedelta(seconds=seconds), usegmt=True), NOW) == seconds
    assert retry_after(format_datetime(NOW - dt.timedelta(seconds=seconds), usegmt=True), NOW) == 0


@given(st.text() | st.sampled_from(["", "-1", "1e9", "soon", "٣", "9" * 400]))
def test_an_unreadable_wait_is_ignored(text: str) -> None:
    found = retry_after(text, NOW)
    assert found is None or found >= 0
