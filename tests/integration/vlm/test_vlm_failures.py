"""An endpoint that fails: no job is lost, and none is answered twice."""

from __future__ import annotations

import asyncio
import datetime as dt
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from nats.aio.client import Client

import services.vlm.__main__ as vlm
from services.vlm.endpoints.openai import Away, ModelEndpoint
from services.vlm.settings import VlmSettings
from shared import bus
from shared.contract import catalog, names
from shared.contract.events import Verdict
from shared.contract.work import jobs
from shared.runtime.telemetry import Health
from tests.support.servers.openai_server import OpenAiServer, broken_off, hang, refused, text
from tests.support.waiting import LONGEST_S, until
from tests.support.worlds.jobs_world import film, settled, stored_results, worker
from tests.support.worlds.vlm_service import letters, openai, serving, verify
from tidegate.local.server import NatsServer

__all__ = ["openai"]


async def test_an_answer_outside_its_schema_is_requested_once_more(
    server: NatsServer, admin: Client, openai: OpenAiServer
) -> None:
    seqs = await film(admin, 2)
    openai.replies = [text("confirmed, surely")]
    openai.then = text('{"verdict":"maybe","confidence":1,"reason":"confirmed"}')
    async with worker(server, openai.url):
        await bus.publish_job(admin, verify(1, seqs))
        await settled(admin)
        openai.replies = [text('{"verdict":"confirmed","confidence":1000,"reason":"x"}'), openai.then]
        openai.then = text('{"verdict":"confirmed","confidence":50,"reason":"raw \x02 control"}')
        await bus.publish_job(admin, verify(2, seqs))
        openai.replies = openai.replies[:1]
        await settled(admin)
    (_, first), (_, second) = await stored_results(admin)
    assert isinstance(first, Verdict) and isinstance(second, Verdict)
    assert (first.verdict, first.cause) == ("uncertain", "schema") and "verdict" in first.reason
    assert (second.verdict, second.cause, second.reason) == ("confirmed", None, "raw control")
    assert len(openai.requests) == 4
    assert await letters(admin) == []


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["500", "broken off", "hangs", "busy", "busy for a while", "bad gateway"])
async def test_a_transient_fault_costs_nothing(
    server: NatsServer, admin: Client, openai: OpenAiServer, fault: str
) -> None:
    seqs = await film(admin, 2)
    openai.replies = {
        "500": [refused(500, "CUDA out of memory")],
        "broken off": [broken_off],
        "hangs": [hang],
        "busy": [refused(429, "slow down", **{"Retry-After": "1"})] * 2,
        "busy for a while": [refused(503)] * 4,
        "bad gateway": [refused(502)],
    }[fault]
    async with worker(server, openai.url, vlm_timeout_s=1.0):
        await bus.publish_job(admin, verify(1, seqs))
        await settled(admin)
        info = await admin.jetstream().consumer_info("VLM", "vlm-verify")
        assert info.num_redelivered == 0, "the job stayed in hand"
    ((_, verdict),) = await stored_results(admin)
    assert isinstance(verdict, Verdict) and verdict.verdict == "confirmed"
    assert await letters(admin) == []


async def test_an_absent_endpoint_is_waited_for(server: NatsServer, admin: Client) -> None:
    seqs = await film(admin, 2)
    await bus.publish_job(admin, verify(1, seqs))
    endpoint = OpenAiServer()
    async with endpoint:
        pass
    client = await bus.connect(server.settings("vlm"), "vlm")
    health, stop = Health(), asyncio.Event()
    settings = VlmSettings(vlm_url=endpoint.url, vlm_outage_timeout_s=1)
    running = asyncio.create_task(vlm.run(settings, client, health, stop))
    await until(lambda: health.ready and "can't be reached" in health.ready)
    await asyncio.sleep(1.5)  # clock: the outage outlasts the patience
    assert (await admin.jetstream().consumer_info("VLM", "vlm-verify")).num_pending == 1, "nothing is taken"
    async with endpoint:
        await until(lambda: health.ready is None)
        await settled(admin)
        stop.set()
        await running
    await client.close()
    assert len(await stored_results(admin)) == 1


async def test_jobs_in_flight_go_to_other_replicas_when_the_endpoint_stays_away(
    server: NatsServer, admin: Client
) -> None:
    seqs = await film(admin, 2)
    sick = OpenAiServer(then=hang)
    impatient = {"vlm_timeout_s": 0.5, "vlm_outage_timeout_s": 0.5}
    async with OpenAiServer() as well, sick, worker(server, sick.url, **impatient) as health:
        for n in range(5):
            await bus.publish_job(admin, verify(n, seqs))
        await until(lambda: sick.requests)
        sick.health = 500
        await until(lambda: health.ready and "/health answers 500" in health.ready)
        async with worker(server, well.url):
            await settled(admin)
        # A worker with a sick endpoint takes no job, and recovers by itself.
        sick.health, sick.then = 200, text('{"verdict":"rejected","confidence":1,"reason":"back"}')
        await until(lambda: health.ready is None)
        await bus.publish_job(admin, verify(9, seqs))
        await settled(admin)
    verdicts = {e.job: e for _, e in await stored_results(admin)}
    assert sorted(verdicts) == ["i-0", "i-1", "i-2", "i-3", "i-4", "i-9"]
    assert verdicts["i-9"].reason == "back"
    assert await letters(admin) == []


async def test_a_rejected_request_is_dead_lettered_immediately(
    server: NatsServer, admin: Client, openai: OpenAiServer
) -> None:
    seqs = await film(admin, 2)
    openai.then = refused(400, "This model's maximum context length is 4096 tokens")
    async with worker(server, openai.url):
        await bus.publish_job(admin, verify(1, seqs))
        await settled(admin)
    (letter,) = await letters(admin)
    assert letter.deliveries == 1 and "maximum context length" in letter.reason and "VLM_FRAMES" in letter.reason


@pytest.mark.slow
async def test_a_request_that_fails_everywhere_is_finally_dead_lettered(
    server: NatsServer, admin: Client, openai: OpenAiServer
) -> None:
    seqs = await film(admin, 2)

    async def picky(request: Any, body: dict[str, Any]) -> Any:
        if "poison" in body["messages"][0]["content"][-1]["text"]:
            return await refused(500, "the engine died of it")(request, body)
        return await text('{"verdict":"confirmed","confidence":90,"reason":"x"}')(request, body)

    openai.then = picky
    async with worker(server, openai.url):
        await bus.publish_job(admin, verify(1, seqs, **{}))
        poison = jobs.Verify(camera="lobby", incident="bad", prompt="poison", segments=seqs)
        await bus.publish_job(admin, poison)
        await bus.publish_job(admin, verify(2, seqs))
        await settled(admin)
    (letter,) = await letters(admin)
    assert (letter.deliveries, letter.service) == (catalog.MAX_DELIVER, "vlm") and "died of it" in letter.reason
    assert sorted(e.job for _, e in await stored_results(admin)) == ["i-1", "i-2"]


async def test_a_refused_key_is_reported_by_readiness_and_renewed_from_its_file(
    server: NatsServer, admin: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seqs = await film(admin, 2)
    key = tmp_path / "key"
    key.write_text("old\n")
    monkeypatch.setenv("VLM_KEY_FILE", str(key))

    async def guarded(request: Any, body: Any) -> Any:
        if request.headers.get("Authorization") != "Bearer new":
            return await refused(401, "who are you, Bearer old?")(request, body)
        return await text('{"verdict":"confirmed","confidence":90,"reason":"x"}')(request, body)

    async with OpenAiServer(then=guarded) as endpoint, worker(server, endpoint.url, vlm_outage_timeout_s=30) as health:
        await bus.publish_job(admin, verify(1, seqs))
        await until(lambda: endpoint.requests)
        await until(lambda: health.ready and "VLM_KEY" in health.ready)
        key.write_text("new\n")
        await settled(admin)
    assert endpoint.keys[-1] == "Bearer new" and len(await stored_results(admin)) == 1


@pytest.mark.parametrize("status", [301, 307])
async def test_frames_and_the_key_follow_no_redirect(status: int) -> None:
    heard = list[str]()

    async def elsewhere(request: web.Request) -> web.Response:
        heard.append(f"{request.method} {request.path} {await request.text()}")
        return web.json_response({"data": []})

    async def redirects(request: web.Request) -> web.Response:
        return web.Response(status=status, headers={"Location": f"http://127.0.0.1:{other.port}{request.path}"})

    async with serving(elsewhere) as other, serving(redirects) as first:
        url = f"http://127.0.0.1:{first.port}/v1"
        async with ModelEndpoint(url, key=lambda: "K3Y", timeout_s=5) as endpoint:
            with pytest.raises(Away, match=f"redirects, {status}.*set VLM_URL to the address itself"):
                await endpoint.complete({"messages": ["frames"]})
            with pytest.raises(Away, match="set VLM_URL to the address itself"):
                await endpoint.look("")
            assert await endpoint.load() == {}
    assert heard == []


async def test_a_missing_model_is_named(server: NatsServer, openai: OpenAiServer) -> None:
    client = await bus.connect(server.settings("vlm"), "vlm")
    health, stop = Health(), asyncio.Event()
    settings = VlmSettings(vlm_url=openai.url, vlm_model="other/model")
    running = asyncio.create_task(vlm.run(settings, client, health, stop))
    await until(lambda: health.ready and "VLM_MODEL" in health.ready)
    assert health.ready and "'other/model'" in health.ready and "fake" in health.ready
    stop.set()
    await running
    await client.close()


async def test_a_draining_worker_returns_waiting_jobs(server: NatsServer, admin: Client) -> None:
    seqs = await film(admin, 2)
    async with OpenAiServer(then=refused(429, "later", **{"Retry-After": "600"})) as busy, OpenAiServer() as well:
        async with worker(server, busy.url):
            for n in range(4):
                await bus.publish_job(admin, verify(n, seqs))
            await until(lambda: len(busy.requests) >= 4)
        # It drains immediately, not in ten minutes; the next replica gets its job.
        async with worker(server, well.url):
            await settled(admin)
    assert len(await stored_results(admin)) == 4 and await letters(admin) == []


@pytest.mark.slow
async def test_a_healthy_server_that_refuses_all_work_is_not_hammered(server: NatsServer, admin: Client) -> None:
    """As with a URL without its /v1: it lists nothing, and every request is for an unknown path."""
    seqs = await film(admin, 2)
    async with OpenAiServer(then=refused(404, "no such path"), models=["fake"]) as lost, OpenAiServer() as well:
        async with worker(server, lost.url) as health:
            await bus.publish_job(admin, verify(1, seqs))
            await until(lambda: lost.requests)
            await asyncio.sleep(6)  # clock: requests without a pause would be hundreds
            assert len(lost.requests) < 12
            assert health.ready is None or "VLM_URL" in health.ready or "draining" in health.ready
        async with worker(server, well.url):
            await settled(admin)
    assert [e.job for _, e in await stored_results(admin)] == ["i-1"] and await letters(admin) == []


async def test_an_answer_during_the_pause_ends_the_pause(server: NatsServer, admin: Client) -> None:
    seqs = await film(admin, 2)
    gate = asyncio.Event()

    async def long(request: Any, body: Any) -> Any:
        await gate.wait()
        return await text('{"verdict":"confirmed","confidence":1,"reason":"late"}')(request, body)

    async with OpenAiServer(long) as endpoint, worker(server, endpoint.url, vlm_outage_timeout_s=60) as health:
        await bus.publish_job(admin, verify(1, seqs))
        await until(lambda: endpoint.requests)
        endpoint.health = 500
        endpoint.replies = [refused(404, "gone for a moment")]
        await bus.publish_job(admin, verify(2, seqs))
        await until(lambda: health.ready and "500" in health.ready)
        gate.set()
        await until(lambda: health.ready is None)
        await settled(admin)
    assert len(await stored_results(admin)) == 2


async def test_jobs_unfinished_by_a_drain_are_returned_and_forgotten(server: NatsServer, admin: Client) -> None:
    consumer = (await admin.jetstream().consumer_info(names.VLM, "vlm-verify")).config
    consumer.ack_wait = 2 * LONGEST_S  # redelivery without a hand-back comes after this test
    await admin.jetstream().add_consumer(names.VLM, consumer)
    seqs = await film(admin, 2)
    async with OpenAiServer(then=hang) as endpoint:
        async with worker(server, endpoint.url, vlm_grace_s=0.3):
            await bus.publish_job(admin, verify(1, seqs))
            await until(lambda: endpoint.requests)
        endpoint.then = text('{"verdict":"confirmed","confidence":1,"reason":"x"}')
        async with worker(server, endpoint.url):
            await settled(admin)
    assert len(await stored_results(admin)) == 1


async def test_a_camera_with_gaps_is_shown_with_its_available_frames(
    server: NatsServer, admin: Client, openai: OpenAiServer
) -> None:
    """Video for two seconds at the beginning, and again long after: no instant of the stretch has any."""
    start = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=100)
    first = await film(admin, 2, start=start)
    await film(admin, 3, start=start + dt.timedelta(seconds=70), epoch="f")
    async with worker(server, openai.url):
        await bus.publish_job(admin, jobs.Caption(camera="lobby", start=start, end=start + dt.timedelta(seconds=60)))
        await settled(admin)
    ((_, caption),) = await stored_results(admin)
    assert caption.cause is None and [f.seq for f in caption.frames] == first[:1]


async def test_undecodable_video_is_reported(server: NatsServer, admin: Client, openai: OpenAiServer) -> None:
    (seq,) = await film(admin, 1)
    raw = await admin.jetstream().get_msg("MEDIA", seq, direct=True)
    headers = {k: v for k, v in (raw.headers or {}).items() if not k.startswith("Nats-")}
    broken = (await admin.jetstream().publish("media.lobby", b"no video", headers=headers)).seq
    async with worker(server, openai.url):
        await bus.publish_job(admin, verify(1, [broken]))
        await settled(admin)
    ((_, verdict),) = await stored_results(admin)
    assert (verdict.cause, len(openai.requests)) == ("unreadable", 0) and "MP4" in verdict.reason
