"""The vlm worker over a real NATS server; its endpoint is a fake, for faults that a real one never shows."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer
from nats.aio.client import Client

import services.vlm.__main__ as vlm
from services.vlm.endpoints.openai import Away, ModelEndpoint
from services.vlm.settings import VlmSettings
from shared import bus
from shared.client import dlq
from shared.contract import catalog, events, names
from shared.contract.events import Answer, Caption, Summary, Verdict
from shared.contract.segment import to_headers
from shared.contract.work import jobs
from shared.runtime.telemetry import Health
from tests.support.effort import assert_cheap
from tests.support.metrics import count
from tests.support.servers import openai_server
from tests.support.servers.openai_server import OpenAiServer, broken_off, hang, refused, text
from tests.support.video.footage import make
from tests.support.waiting import LONGEST_S, patience_s, until
from tests.support.worlds.jobs_world import ask, film, fronting, settled, stored_results, waiting, worker
from tidegate.chaos.network_proxy import NetworkProxy
from tidegate.demo import clips
from tidegate.local.server import NatsServer


def now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


async def until_requested(admin: Client) -> None:
    """Wait until a question waits for a worker."""
    async with asyncio.timeout(patience_s()):
        while not await waiting(admin, names.ASKS):
            await asyncio.sleep(0.05)


@pytest_asyncio.fixture
async def openai() -> AsyncIterator[OpenAiServer]:
    async with OpenAiServer() as endpoint:
        yield endpoint


@contextlib.asynccontextmanager
async def serving(answer: Callable[[web.Request], Awaitable[web.Response]]) -> AsyncIterator[TestServer]:
    """Answer each request with it."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    async with TestServer(app) as server:
        yield server


async def letters(client: Client) -> list[dlq.DeadLetter]:
    return [x async for x in dlq.entries(client)]


def verify(n: int, seqs: list[int], **changes: Any) -> jobs.Verify:
    return jobs.Verify(camera="lobby", incident=f"i-{n}", prompt="A tram is there.", segments=seqs, **changes)


# ---- results of jobs


async def test_every_kind_of_job_ends_in_its_event(server: NatsServer, admin: Client, openai: OpenAiServer) -> None:
    seqs = await film(admin, 8)
    start, end = now() - dt.timedelta(seconds=30), now()
    openai.then = text("A man\x1b[31m walks   by.")
    async with worker(server, openai.url):
        await bus.publish_job(admin, jobs.Caption(camera="lobby", start=start, end=end))
        await settled(admin)
        await bus.publish_job(admin, jobs.Summarize(camera="lobby", id="s1", start=start, end=end))
        await settled(admin)
        openai.then = text('{"answer":"A man.","frames":[1,3,900]}')
        await bus.publish_job(admin, jobs.Ask(camera="lobby", id="q1", question="Who?", start=start, end=end))
        await settled(admin)
        openai.then = text('{"verdict":"rejected","confidence":73,"reason":"There is none."}')
        await bus.publish_job(admin, verify(1, seqs[2:5], rule="tram"))
        await settled(admin)
    caption, summary, answer, verdict = (event for _, event in await stored_results(admin))
    assert isinstance(caption, Caption) and caption.text == "A man [31m walks by."
    assert {f.seq for f in caption.frames} <= set(seqs) and len(caption.frames) >= 2
    assert isinstance(summary, Summary) and (summary.captions, summary.text) == (1, "A man [31m walks by.")
    assert isinstance(answer, Answer) and (answer.job, answer.text) == ("q1", "A man.")
    assert answer.used == [answer.frames[0].time, answer.frames[2].time]
    assert isinstance(verdict, Verdict)
    assert (verdict.incident, verdict.rule, verdict.verdict, verdict.confidence) == ("i-1", "tram", "rejected", 0.73)
    assert (verdict.reason, verdict.model, verdict.cause) == ("There is none.", "fake", None)
    assert [f.seq for f in verdict.frames] == [seqs[2], seqs[3], seqs[3], seqs[4]]
    assert (verdict.usage.prompt_tokens, verdict.usage.completion_tokens) == (7, 5)
    assert await letters(admin) == []


async def test_the_event_names_the_frames_that_the_model_saw(
    server: NatsServer, admin: Client, openai: OpenAiServer
) -> None:
    seqs = await film(admin, 3)
    async with worker(server, openai.url, vlm_frames=3, vlm_size=128):
        await bus.publish_job(admin, verify(1, seqs))
        await settled(admin)
    ((_, verdict),) = await stored_results(admin)
    (body,) = openai.requests
    parts = body["messages"][0]["content"]
    assert [p["type"] for p in parts] == ["text", "image_url"] * 3 + ["text"]
    assert [p["text"] for p in parts[0:6:2]] == [
        f"Frame {n}, {f.time:%H:%M:%S}.{f.time.microsecond // 100_000} UTC:" for n, f in enumerate(verdict.frames, 1)
    ]
    assert "A tram is there." in parts[-1]["text"] and body["response_format"]["json_schema"]["strict"]
    assert all(p["image_url"]["url"].startswith("data:image/jpeg;base64,/9j/") for p in parts[1:6:2])


async def test_segments_inside_their_gop_are_used_too(
    server: NatsServer, admin: Client, openai: OpenAiServer, tmp_path: Path
) -> None:
    found = clips.pieces(make(tmp_path / "long.mp4", frames=100, fps=25, gop=100), "lobby")
    js, key, seqs = admin.jetstream(), 0, []
    for piece in found:
        headers = to_headers(piece.segment) | ({"Key-Seq": str(key)} if piece.dependent else {})
        seqs.append((await js.publish("media.lobby", piece.payload, headers=headers)).seq)
        key = key or seqs[0]
    assert len(seqs) == 4
    async with worker(server, openai.url):
        await bus.publish_job(admin, verify(1, seqs[2:]))
        await settled(admin)
    ((_, verdict),) = await stored_results(admin)
    assert {f.seq for f in verdict.frames} == set(seqs[2:]) and verdict.cause is None


async def test_jobs_of_one_incident_have_one_verdict(server: NatsServer, admin: Client, openai: OpenAiServer) -> None:
    seqs = await film(admin, 3)
    gate = asyncio.Event()

    async def slow(request: Any, body: Any) -> Any:
        await gate.wait()
        return await text('{"verdict":"confirmed","confidence":9,"reason":"x"}')(request, body)

    def prepared() -> float:
        return count("tidegate_stage_seconds_count", service="vlm", stage="prepare")

    openai.then = slow
    js, before = admin.jetstream(), prepared()
    # Published without the id for JetStream's deduplication: by another publisher, or an older one.
    for _ in range(3):
        await js.publish(names.job("verify", "lobby"), jobs.encode(verify(7, seqs)))
    async with worker(server, openai.url):
        await until(lambda: openai.requests and prepared() == before + 3)
        await asyncio.sleep(0.3)
        gate.set()
        await settled(admin)
        # A later repetition.
        await js.publish(names.job("verify", "lobby"), jobs.encode(verify(7, seqs)))
        await settled(admin)
    found = await stored_results(admin)
    assert [id for id, _ in found] == ["vlm/fake/verify/lobby/i-7"]
    assert len(openai.requests) == 2, "jobs in hand together are asked once"
    first, second = await bus.publish_job(admin, verify(8, seqs)), await bus.publish_job(admin, verify(8, seqs))
    assert (first.duplicate, second.duplicate) == (None, True)


def losing_acknowledgements(server: NatsServer) -> NetworkProxy:
    """A proxy that turns acknowledgements into reports of progress."""

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 20):
            writer.write(re.sub(rb"PUB (\$JS\.ACK\.[^\r]+) 0\r\n", rb"PUB \1 4\r\n+WPI", data))
            await writer.drain()
        writer.close()

    return NetworkProxy(server.url, there=carry)


@pytest.mark.slow
async def test_a_job_with_a_lost_acknowledgement_is_answered_once(
    server: NatsServer, admin: Client, openai: OpenAiServer
) -> None:
    """The deduplication window of EVENTS is over: a second here, and 15 minutes in the contract."""
    js, seqs = admin.jetstream(), await film(admin, 3)
    start, end = now() - dt.timedelta(seconds=30), now()
    config = (await js.stream_info(names.EVENTS)).config
    config.duplicate_window = 1.0
    await js.update_stream(config)
    for stream, consumer in names.VLM_WORK:
        await js.add_consumer(stream, (await js.consumer_info(stream, consumer)).config.evolve(ack_wait=3.0))
    openai.then = text('{"verdict":"confirmed","confidence":9,"reason":"x","answer":"A man.","frames":[1]}')
    questions: list[jobs.Job] = [
        verify(1, seqs),
        jobs.Ask(camera="lobby", id="q", question="Who?", start=start, end=end),
        jobs.Caption(camera="lobby", start=start, end=end),
    ]
    async with losing_acknowledgements(server) as way, worker(server, openai.url, at=way.url):
        for job in questions:
            await bus.publish_job(admin, job)
        async with asyncio.timeout(patience_s()):
            while len(await stored_results(admin)) < len(questions):
                await asyncio.sleep(0.1)
    before = await stored_results(admin)
    assert sum([await waiting(admin, stream) for stream, _ in names.VLM_WORK]) == len(questions)
    await asyncio.sleep(3)
    async with worker(server, openai.url):
        await settled(admin)
    assert await stored_results(admin) == before
    assert len(openai.requests) == len(questions)


@pytest.mark.slow
async def test_a_job_whose_video_has_expired_ends_with_that_reason(
    server: NatsServer, admin: Client, openai: OpenAiServer
) -> None:
    seqs = await film(admin, 6)
    await admin.jetstream().purge_stream("MEDIA", seq=seqs[-1])
    long_ago = now() - dt.timedelta(hours=1)
    async with worker(server, openai.url):
        await bus.publish_job(admin, verify(1, seqs[:3]))
        caption = jobs.Caption(camera="lobby", start=long_ago, end=long_ago + dt.timedelta(seconds=9))
        await bus.publish_job(admin, caption)
        await bus.publish_job(
            admin, jobs.Ask(camera="nobody", id="q", question="Who?", start=now(), end=now() + dt.timedelta(hours=1))
        )
        await bus.publish_job(
            admin, jobs.Summarize(camera="lobby", id="s", start=long_ago, end=long_ago + dt.timedelta(seconds=9))
        )
        await settled(admin)
    found = {type(e): e for _, e in await stored_results(admin)}
    verdict = found[Verdict]
    assert isinstance(verdict, Verdict)
    assert (verdict.verdict, verdict.confidence, verdict.cause) == ("uncertain", 0.0, "expired")
    assert "MEDIA_MAX_AGE_S" in verdict.reason
    assert (found[Caption].cause, found[Answer].cause) == ("expired", "no_video")
    assert found[Summary].cause == "no_captions" and "VLM_CAPTION_EVERY_S" in found[Summary].reason
    assert openai.requests == [] and await letters(admin) == []


async def test_video_that_the_server_returns_late_is_judged(
    server: NatsServer, admin: Client, openai: OpenAiServer
) -> None:
    """As with a stale follower, or a server that can't open its files for some seconds."""
    openai.then = text('{"verdict":"confirmed","confidence":90,"reason":"There it is."}')
    start = dt.datetime.now(dt.UTC)
    end = start + dt.timedelta(seconds=3)
    failed = {"service": "vlm", "cause": "NotYet"}
    before = count("tidegate_failed_total", **failed)
    async with worker(server, openai.url):
        await bus.publish_job(admin, verify(1, [1, 2, 3]))
        await bus.publish_job(admin, jobs.Caption(camera="lobby", start=start, end=end))
        await until(lambda: count("tidegate_failed_total", **failed) >= before + 2)
        # A waiting asker gets the answer immediately, and may ask again.
        question = jobs.Ask(camera="lobby", id="q", question="Who?", start=start, end=end, wait_s=60.0)
        await bus.publish_job(admin, question)
        while not await stored_results(admin):
            await asyncio.sleep(0.05)
        await film(admin, 3, start=start)
        await settled(admin)
    causes = {type(e): e.cause for _, e in await stored_results(admin)}
    assert causes == {Verdict: None, Caption: None, Answer: "expired"}
    assert await letters(admin) == []


async def test_the_remaining_evidence_is_enough(server: NatsServer, admin: Client, openai: OpenAiServer) -> None:
    seqs = await film(admin, 6)
    await admin.jetstream().purge_stream("MEDIA", seq=seqs[3])
    async with worker(server, openai.url):
        await bus.publish_job(admin, verify(1, seqs))
        await settled(admin)
    ((_, verdict),) = await stored_results(admin)
    assert {f.seq for f in verdict.frames} == set(seqs[3:]) and len(verdict.frames) == 4 and verdict.cause is None


BAD_JOBS = [
    ("verify", b"not json", "not a job of kind verify"),
    ("verify", b'{"camera":"lobby","incident":"i","segments":[1]}', "prompt"),
    ("verify", b'{"camera":"lobby","incident":"a b","prompt":"p","segments":[1]}', "incident"),
    ("verify", b'{"camera":"street","incident":"i","prompt":"p","segments":[1]}', "its subject is"),
    ("ask", b'{"camera":"lobby","question":"q","start":"2026-11-24T13:00:00","end":"2026-11-24T13:00:01Z"}', "start"),
    ("caption", b'{"camera":"lobby","start":"2026-11-24T13:00:01Z","end":"2026-11-24T13:00:00Z"}', "not before"),
    ("summarize", b'{"x":' + b"[" * 5000, "not a job of kind summarize"),
]


async def test_an_invalid_job_is_dead_lettered_with_the_field(
    server: NatsServer, admin: Client, openai: OpenAiServer
) -> None:
    js = admin.jetstream()
    put = {}
    for kind, data, why in BAD_JOBS:
        ack = await js.publish(names.job(kind, "lobby"), data)
        put[ack.stream, ack.seq] = why
    (seq,) = await film(admin, 1, camera="street")
    ack = await bus.publish_job(admin, verify(1, [seq]))
    put[ack.stream, ack.seq] = "no segment of camera lobby"
    async with worker(server, openai.url):
        await settled(admin)
    found = await letters(admin)
    assert all(letter.service == "vlm" and letter.deliveries == 1 for letter in found)
    reasons = {(letter.stream, letter.stream_seq): letter.reason for letter in found}
    for (stream, seq), why in put.items():
        assert why in reasons[stream, seq]
    assert len(found) == len(BAD_JOBS) + 1


# ---- an endpoint that fails


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


# ---- svc.ask


async def test_questions_are_answered_by_request(server: NatsServer, admin: Client, openai: OpenAiServer) -> None:
    seqs = await film(admin, 8)
    asker = await bus.connect(server.settings("asker"), "asker")
    async with fronting(server), worker(server, openai.url):
        verdict = await ask(asker, kind="verify", camera="lobby", prompt="A tram is there.", segments=seqs[:2])
        assert verdict["verdict"] == "confirmed" and verdict["incident"].startswith("asked-")
        openai.then = text('{"answer":"A man.","frames":[2]}')
        answers = await asyncio.gather(
            *(ask(asker, kind="ask", camera="lobby", question=f"Who {n}?") for n in range(12)),
            ask(asker, kind="caption", camera="lobby"),
        )
        assert [a["text"] for a in answers] == ["A man."] * 13
        assert [a["question"] for a in answers[:12]] == [f"Who {n}?" for n in range(12)]
        info = json.loads((await asker.request("$SRV.INFO.tidegate-vlm", timeout=patience_s())).data)
        assert [e["subject"] for e in info["endpoints"]] == ["svc.ask"]
    await asker.close()
    assert await letters(admin) == []


async def test_a_question_waits_for_a_worker(server: NatsServer, admin: Client, openai: OpenAiServer) -> None:
    await film(admin, 4)
    openai.then = text('{"answer":"Nobody.","frames":[]}')
    async with fronting(server):
        asking = asyncio.create_task(ask(admin, kind="ask", camera="lobby", question="Who?"))
        await until_requested(admin)
        assert not asking.done()
        async with worker(server, openai.url):
            assert (await asking)["text"] == "Nobody."
        late = await ask(admin, kind="ask", camera="lobby", question="Who?", wait_s=0.5)
        assert (late["Nats-Service-Error-Code"] == "504" and "events with job" in late["Nats-Service-Error"]) or (
            "as an event" in late["Nats-Service-Error"]
        )
        bad = await ask(admin, kind="ask", camera="lobby", question="Who?", sinc="x")
        assert bad["Nats-Service-Error-Code"] == "400" and "sinc" in bad["Nats-Service-Error"]


async def test_a_stopping_front_answers_waiting_askers(server: NatsServer, admin: Client) -> None:
    async with fronting(server):
        asking = asyncio.create_task(ask(admin, kind="ask", camera="lobby", question="Who?"))
        await until_requested(admin)
    refusal = await asking
    assert refusal["Nats-Service-Error-Code"] == "503" and "ask again" in refusal["Nats-Service-Error"]


async def test_an_asker_may_only_ask(server: NatsServer, admin: Client) -> None:
    asker = await bus.connect(server.settings("asker"), "asker")
    problems: list[str] = []
    asker._error_cb = lambda e: problems.append(str(e)) or asyncio.sleep(0)  # type: ignore[attr-defined, func-returns-value]
    for subject in ("jobs.vlm.ask.lobby", "media.lobby", "$JS.API.STREAM.INFO.MEDIA", "events.answers.lobby"):
        await asker.publish(subject, b"x")
    await asker.flush()
    await until(lambda: len(problems) == 4)
    assert await waiting(admin, names.ASKS) == 0
    await asker.close()


# ---- frames that search found


async def test_half_of_the_frames_come_from_search(server: NatsServer, admin: Client, openai: OpenAiServer) -> None:
    start = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=20)
    await film(admin, 20, start=start)
    found = start + dt.timedelta(seconds=4.2)
    requests: list[dict[str, Any]] = []

    async def find(message: Any) -> None:
        requests.append(json.loads(message.data))
        moment = {"time": found.isoformat(), "kept": True, "camera": "lobby"}
        await message.respond(json.dumps({"moments": [moment, moment | {"kept": False}]}).encode())

    search = await bus.connect(server.settings("search"), "search")
    await search.subscribe(names.FIND, cb=find)
    await search.flush()
    openai.then = text('{"answer":"x","frames":[]}')
    async with worker(server, openai.url):
        end = start + dt.timedelta(seconds=20)
        await bus.publish_job(admin, jobs.Ask(camera="lobby", id="q", question="A tram?", start=start, end=end))
        await settled(admin)
    await search.close()
    ((_, answer),) = await stored_results(admin)
    assert requests[0]["text"] == "A tram?" and requests[0]["cameras"] == ["lobby"] and requests[0]["k"] == 2
    assert len(answer.frames) == 4
    assert min(abs((f.time - found).total_seconds()) for f in answer.frames) < 0.05
    times = [f.time for f in answer.frames]
    assert times == sorted(times) and (times[-1] - times[0]).total_seconds() > 10


# ---- metrics


async def test_resources_of_jobs_are_counted(server: NatsServer, admin: Client, openai: OpenAiServer) -> None:
    seqs = await film(admin, 2)
    before = {
        "jobs": count("tidegate_vlm_jobs_total", kind="verify", outcome="confirmed"),
        "in": count("tidegate_vlm_tokens_total", direction="in"),
        "first": count("tidegate_vlm_first_token_seconds_count", kind="verify"),
        "ok": count("tidegate_vlm_requests_total", outcome="ok"),
    }
    async with worker(server, openai.url):
        await bus.publish_job(admin, verify(1, seqs))
        await settled(admin)
        assert count("tidegate_vlm_endpoint_up") == 1
    assert count("tidegate_vlm_jobs_total", kind="verify", outcome="confirmed") == before["jobs"] + 1
    assert count("tidegate_vlm_tokens_total", direction="in") == before["in"] + 7
    assert count("tidegate_vlm_first_token_seconds_count", kind="verify") == before["first"] + 1
    assert count("tidegate_vlm_requests_total", outcome="ok") == before["ok"] + 1


@pytest.mark.parametrize("tokens", [-5, 2**60, 2**63])
async def test_an_answer_is_published_with_any_token_counts(
    server: NatsServer, admin: Client, openai: OpenAiServer, tokens: int
) -> None:
    """Regression: a negative count dead-lettered the job, and readers refused events with huge counts."""
    seqs = await film(admin, 3)
    usage = {"prompt_tokens": tokens, "completion_tokens": tokens}

    async def reply(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        return await openai_server.respond(request, openai_server.GOOD, usage=usage)

    openai.then = reply
    async with worker(server, openai.url):
        await bus.publish_job(admin, verify(1, seqs))
        await settled(admin)
    ((_, verdict),) = await stored_results(admin)
    assert isinstance(verdict, Verdict) and verdict.verdict == "confirmed"
    events.decode(events.encode(verdict), Verdict)
    assert await letters(admin) == []


async def test_an_endless_caption_is_readable(server: NatsServer, admin: Client, openai: OpenAiServer) -> None:
    await film(admin, 3)
    start = now() - dt.timedelta(seconds=30)
    openai.then = text("A man walks by. " * 20_000)
    async with worker(server, openai.url):
        await bus.publish_job(admin, jobs.Caption(camera="lobby", start=start, end=now()))
        await settled(admin)
    ((_, caption),) = await stored_results(admin)
    assert events.decode(events.encode(caption), Caption).text.startswith("A man walks by. A man")


def test_an_endless_page_of_gauges_is_read_in_linear_time() -> None:
    """Regression: a line of four megabytes took quadratic time, in the loop that extends the ack wait."""
    imports = r"""
import asyncio
from services.vlm.endpoints.openai import ModelEndpoint
HEAD = b'HTTP/1.1 200 OK\r\n\r\n# TYPE vllm:num_requests_waiting gauge\nvllm:num_requests_waiting{e="0"} 3\n'
LONG = b'vllm:num_requests_waiting{a="' + rb'\"' * 1_900_000 + b'"} 1\n'
async def answer(reader, writer):
    await reader.readuntil(b'\r\n\r\n')
    writer.write(HEAD + LONG)
    await writer.drain()
    writer.close()
async def main():
    server = await asyncio.start_server(answer, '127.0.0.1', 0)
    url = f'http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1'
    async with ModelEndpoint(url, key=lambda: '', timeout_s=5) as endpoint:
        assert await endpoint.load() == {'vllm:num_requests_waiting': 3.0}
"""
    assert_cheap(imports, "asyncio.run(main())")
