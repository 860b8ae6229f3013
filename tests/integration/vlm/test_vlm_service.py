"""The vlm worker over a real NATS server; its endpoint is a fake, for faults that a real one never shows."""

from __future__ import annotations

import asyncio
import datetime as dt
import re
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from nats.aio.client import Client

from shared import bus
from shared.contract import events, names
from shared.contract.events import Answer, Caption, Summary, Verdict
from shared.contract.segment import to_headers
from shared.contract.work import jobs
from tests.support.effort import assert_cheap
from tests.support.metrics import count
from tests.support.servers import openai_server
from tests.support.servers.openai_server import OpenAiServer, text
from tests.support.video.footage import make
from tests.support.waiting import patience_s, until
from tests.support.worlds.jobs_world import film, settled, stored_results, waiting, worker
from tests.support.worlds.vlm_service import letters, now, openai, verify
from tidegate.chaos.network_proxy import NetworkProxy
from tidegate.demo import clips
from tidegate.local.server import NatsServer

__all__ = ["openai"]


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
    assert len(openai.requests) == 2, "jobs in flight together make one request"
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
