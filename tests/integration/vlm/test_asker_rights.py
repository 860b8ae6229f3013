"""Attacks of an asker: on the room and the priority of verdicts, of captions, and of other askers."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import time
from collections import Counter

import pytest
from nats.aio.client import Client
from nats.js.api import AckPolicy, ConsumerConfig, StreamConfig
from nats.js.errors import APIError, NotFoundError

from services.scaler.consumers.registry import Consumers
from services.vlm.planning import query
from services.vlm.planning.asking import MOST_WAITING, MOST_WAITING_BYTES
from shared import bus
from shared.contract import ids, names, topology
from shared.contract.events import Answer
from shared.contract.topology import TopologySettings
from shared.contract.work import jobs
from shared.runtime.tasks import end
from tests.support.metrics import count
from tests.support.processes.service import counted
from tests.support.servers.openai_server import OpenAiServer, hang, text
from tests.support.waiting import patience_s, until
from tests.support.worlds.jobs_world import ask, film, fronting, settled, stored_results, waiting, worker
from tests.support.worlds.questions import QUESTIONS, flood
from tidegate.local.server import NatsServer


def jobs_stretch() -> tuple[dt.datetime, dt.datetime]:
    """The last minute."""
    end = dt.datetime.now(dt.UTC)
    return end - dt.timedelta(minutes=1), end


def verify(n: int, segments: list[int] | None = None) -> jobs.Verify:
    return jobs.Verify(camera="lobby", incident=f"i-{n}", prompt="A fall", segments=segments or [1])


# ---- limits of each kind


async def test_questions_take_neither_room_nor_priority_of_verdicts_and_captions(
    server: NatsServer, admin: Client
) -> None:
    limits = TopologySettings(vlm_max_msgs=40, vlm_max_asks=40, vlm_max_captions=40)
    await topology.apply(admin.jetstream(), limits)
    analytics = await bus.connect(server.settings("analytics"), "analytics")
    front = await bus.connect(server.settings("vlm-front"), "vlm-front")
    async with fronting(server):
        flooding = asyncio.create_task(flood(server, 100, wait_s=30))
        async with asyncio.timeout(patience_s()):
            while await waiting(admin, names.ASKS) < 40:
                await asyncio.sleep(0.02)
        refused = await ask(admin, kind="ask", camera="lobby", question="Who?")
        assert refused["Nats-Service-Error-Code"] == "503" and "VLM_MAX_ASKS" in refused["Nats-Service-Error"]
        await bus.publish_job(analytics, verify(1), patience_s=0)
        begins, ends = jobs_stretch()
        await bus.publish_job(front, jobs.Caption(camera="lobby", start=begins, end=ends), patience_s=0)
        for stream, consumer in (names.VLM_WORK[0], names.VLM_WORK[2]):
            assert await counted(admin, 1, stream, consumer) == (0, 1), "it waits behind others"
        await end(flooding)
    await asyncio.gather(analytics.close(), front.close())


async def test_no_kind_of_job_takes_the_room_of_another(server: NatsServer, admin: Client) -> None:
    """As `vlm-front`, with all its rights: the server itself refuses."""
    await topology.apply(admin.jetstream(), TopologySettings(vlm_max_msgs=5, vlm_max_asks=5, vlm_max_captions=5))
    front = await bus.connect(server.settings("vlm-front"), "vlm-front")
    for n in range(10):
        for kind in ("ask", "summarize", "check", "caption"):
            try:
                await front.jetstream().publish(names.job(kind, f"c-{n}"), b"{}", headers={"Nats-TTL": "never"})
            except APIError as e:
                assert e.err_code == 10077
        await front.publish(names.job("verify", f"c-{n}"), b"{}")
    await front.flush()
    assert [await waiting(admin, stream) for stream, _ in names.VLM_WORK] == [0, 5, 5]
    with pytest.raises(APIError, match="size"):
        await front.jetstream().publish(names.job("caption", "large"), bytes(topology.JOB_BYTES + 1))
    await front.close()


@pytest.mark.parametrize("stream", [stream for stream, _ in names.VLM_WORK])
async def test_jobs_of_one_priority_take_a_bounded_part_of_the_disk(admin: Client, stream: str) -> None:
    js = admin.jetstream()
    kind = {names.VLM: "verify", names.ASKS: "ask", names.CAPTIONS: "caption"}[stream]
    most = topology.JOBS_BYTES // (topology.JOB_BYTES - 200) + 1
    stored = 0
    for n in range(0, most + 100, 50):
        done = await asyncio.gather(
            *(js.publish(names.job(kind, f"c-{n + k}"), bytes(topology.JOB_BYTES - 200)) for k in range(50)),
            return_exceptions=True,
        )
        stored += sum(not isinstance(d, Exception) for d in done)
    assert 0 < stored < most + 100
    assert (await js.stream_info(stream)).state.bytes <= topology.JOBS_BYTES


# ---- abandoned questions


async def test_an_abandoned_question_expires_without_a_worker(server: NatsServer, admin: Client) -> None:
    """So it requests no replica either: a scaler counts pending messages."""
    before = sum(count("tidegate_vlm_queries_total", kind=q["kind"], code="504") for q in QUESTIONS)
    js = admin.jetstream()
    async with fronting(server):
        assert await flood(server, 40, wait_s=0.5) == {"504": 40}
        waits = asyncio.create_task(ask(admin, kind="ask", camera="lobby", question="Who?", wait_s=60))
        # Read the stream, not the consumer: a consumer info during expiry makes its later counts too low.
        async with asyncio.timeout(patience_s()):
            while await waiting(admin, names.ASKS) != 1:
                assert not waits.done(), waits.result()
                await asyncio.sleep(0.05)
        info = await js.consumer_info(names.ASKS, "vlm-ask")
        assert (info.num_pending, info.num_ack_pending) == (1, 0), "who still waits is still waited for"
        waits.cancel()
    after = sum(count("tidegate_vlm_queries_total", kind=q["kind"], code="504") for q in QUESTIONS)
    assert after - before == 40, "nothing disappears silently"


async def test_a_scaler_counts_abandoned_questions_as_expired_and_not_as_demand(admin: Client) -> None:
    consumers = Consumers(admin, every_s=0.1)
    reader = consumers.get(names.ASKS, "vlm-ask", service="vlm")
    try:
        await until(reader.first_answer.is_set)
        start, end = jobs_stretch()
        for n in range(5):
            job = jobs.Ask(camera="lobby", id=f"q-{n}", question="Who?", start=start, end=end, wait_s=0.5)
            await bus.publish_job(admin, job)
        await until(lambda: reader.expired == 5)
        await until(lambda: reader.state().backlog == 0)
        assert reader.state().arrived == 5
    finally:
        await consumers.close()


async def test_an_abandoned_question_in_flight_is_not_processed(server: NatsServer, admin: Client) -> None:
    await film(admin, 4)
    before = count("tidegate_vlm_jobs_total", kind="ask", outcome="late")
    async with OpenAiServer(then=hang) as openai, worker(server, openai.url, vlm_batch_size=1, vlm_timeout_s=4.0):
        async with fronting(server):
            asking = asyncio.create_task(ask(admin, kind="ask", camera="lobby", question="Who?", wait_s=60))
            await until(lambda: openai.requests)
            # The model has one question, and these are in flight behind it.
            late = await asyncio.gather(
                *(ask(admin, kind="ask", camera="lobby", question=f"Who {n}?", wait_s=1) for n in range(2))
            )
            assert [refusal["Nats-Service-Error-Code"] for refusal in late] == ["504"] * 2
            openai.then = text('{"answer":"A man.","frames":[]}')
            assert (await asking)["text"] == "A man."
        await settled(admin)
    reports = [e for _, e in await stored_results(admin) if isinstance(e, Answer)]
    assert sorted((e.question, e.cause) for e in reports if e.cause) == [("Who 0?", "late"), ("Who 1?", "late")]
    assert not [body for body in openai.requests if "Who 0?" in json.dumps(body) or "Who 1?" in json.dumps(body)]
    assert count("tidegate_vlm_jobs_total", kind="ask", outcome="late") == before + 2


async def test_only_the_servers_clock_makes_a_question_late(
    server: NatsServer, admin: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker with a clock that is an hour fast answers like any other."""
    await film(admin, 4)
    now = time.time
    monkeypatch.setattr("shared.worker.service.time.time", lambda: now() + 3600)
    async with OpenAiServer(then=text('{"answer":"A man.","frames":[]}')) as openai, worker(server, openai.url):
        start, end = jobs_stretch()
        await bus.publish_job(admin, jobs.Ask(camera="lobby", id="q", question="Who?", start=start, end=end, wait_s=30))
        await settled(admin)
    ((_, answer),) = await stored_results(admin)
    assert isinstance(answer, Answer) and (answer.text, answer.cause) == ("A man.", None)


# ---- one asker and the front


async def test_a_front_has_a_limit_of_questions(server: NatsServer, admin: Client) -> None:
    await topology.apply(admin.jetstream(), TopologySettings(vlm_max_asks=10 * MOST_WAITING))
    async with fronting(server):
        flooding = asyncio.create_task(flood(server, MOST_WAITING + 50, wait_s=20))
        async with asyncio.timeout(patience_s()):
            while await waiting(admin, names.ASKS) < MOST_WAITING:
                await asyncio.sleep(0.05)
        refused = await ask(admin, kind="ask", camera="lobby", question="Who?")
        assert refused["Nats-Service-Error-Code"] == "503" and "waiting already" in refused["Nats-Service-Error"]
        assert await waiting(admin, names.ASKS) == MOST_WAITING
        flooding.cancel()
    await asyncio.gather(flooding, return_exceptions=True)


async def test_a_front_answers_and_forgets_after_any_wait(server: NatsServer, admin: Client) -> None:
    """Regression: the front held questions for ever whose wait ended during the publish."""
    await topology.apply(admin.jetstream(), TopologySettings(vlm_max_asks=10_000))
    async with fronting(server):
        for _ in range(4):
            rounds = (flood(server, 75, wait_s=wait_s) for wait_s in (0.0001, 0.001, 0.003, 0.01))
            assert sum(await asyncio.gather(*rounds), Counter[str]()) == {"504": 300}


async def test_large_questions_take_no_more_memory_of_a_front(server: NatsServer, admin: Client) -> None:
    """Spaces pad each question to the maximum length. All of them are below `max_pending`, over which the server
    closes the connection of a front that is slow to read.
    """
    count = 200
    async with fronting(server):
        client = await bus.connect(server.settings("asker"), "asker")
        large = json.dumps({"kind": "ask", "camera": "lobby", "question": "Who?"}).encode().ljust(query.MOST_BYTES)
        asking = [asyncio.create_task(client.request(names.ASK, large, timeout=60)) for _ in range(count)]
        most = MOST_WAITING_BYTES // query.MOST_BYTES
        try:
            await until(lambda: sum(task.done() for task in asking) >= count - most)
            refused = [task.result().headers or {} for task in asking if task.done()]
            assert {headers["Nats-Service-Error-Code"] for headers in refused} == {"503"}
            assert "ask again later" in refused[0]["Nats-Service-Error"]
            async with asyncio.timeout(patience_s()):
                while await waiting(admin, names.ASKS) < most:
                    await asyncio.sleep(0.05)
        finally:
            await end(*asking)
            await client.close()
        assert await waiting(admin, names.ASKS) == most


@pytest.mark.parametrize(
    "wait_s", ["1e400", "-1", "0", "NaN", "Infinity", "600.0001", "1e-400", "null", "true", '"5"', "9" * 400]
)
async def test_an_invalid_wait_is_refused_by_its_field(server: NatsServer, admin: Client, wait_s: str) -> None:
    async with fronting(server):
        request = f'{{"kind":"ask","camera":"lobby","question":"Who?","wait_s":{wait_s}}}'
        answer = await admin.request(names.ASK, request.encode(), timeout=30)
        assert (answer.headers or {})["Nats-Service-Error-Code"] == "400"
    assert await waiting(admin, names.ASKS) == 0


# ---- stores of older versions


async def old_store(client: Client) -> None:
    """VLM as in 0.2.0: one stream, and one limit, for all kinds."""
    js = client.jetstream()
    for stream, _ in names.VLM_WORK:
        await js.delete_stream(stream)
    kinds = {"vlm-verify": ["verify"], "vlm-ask": ["ask", "summarize"], "vlm-caption": ["caption"]}
    subjects = [names.job(kind, ">") for of in kinds.values() for kind in of]
    config = topology._stream(names.VLM, subjects, TopologySettings(), retention="workqueue", discard="new")
    config.max_age, config.max_msgs, config.duplicate_window = 3600, 100_000, 900
    await js.add_stream(config)
    for consumer, of in kinds.items():
        filters = [names.job(kind, ">") for kind in of]
        await js.add_consumer(
            names.VLM,
            ConsumerConfig(durable_name=consumer, filter_subjects=filters, ack_policy=AckPolicy.EXPLICIT, ack_wait=10),
        )


async def test_setup_moves_the_jobs_of_an_older_store_without_loss(server: NatsServer, admin: Client) -> None:
    """More jobs wait than the new limits allow, and a worker of the older version has one in flight."""
    js = admin.jetstream()
    await film(admin, 4)
    await old_store(admin)
    start, end = jobs_stretch()
    for n in range(300):
        await bus.publish_job(admin, jobs.Ask(camera=f"c-{n % 9}", id=f"q-{n}", question="Who?", start=start, end=end))
        await js.publish(names.job("caption", "lobby"), b"no job")
    await bus.publish_job(admin, verify(1))
    (held,) = await (await js.pull_subscribe_bind("vlm-ask", names.VLM)).fetch(1)
    limits = TopologySettings(vlm_max_asks=10)
    done = await topology.apply(js, limits)
    assert "stream ASKS took over 300 jobs from VLM" in done
    assert "stream CAPTIONS took over 300 jobs from VLM" in done
    assert [await waiting(admin, stream) for stream, _ in names.VLM_WORK] == [1, 300, 300]
    assert [c.name for c in await js.consumers_info(names.VLM)] == ["vlm-verify"]
    assert (await js.stream_info(names.ASKS)).config.max_msgs == 10
    assert await topology.apply(js, limits) == []
    moved = await js.get_msg(names.ASKS, seq=1)
    # A worker that still finishes it publishes under the same id.
    assert (moved.headers or {})["Replay-Of"] == f"VLM/{held.metadata.sequence.stream}"
    assert (moved.data, (moved.headers or {})["Nats-Msg-Id"]) == (held.data, (held.headers or {})["Nats-Msg-Id"])


async def test_an_interrupted_move_resumes(server: NatsServer, admin: Client) -> None:
    js = admin.jetstream()
    await old_store(admin)
    for n in range(20):
        await js.publish(names.job("ask", f"c-{n}"), b"{}", headers={"Nats-Msg-Id": f"ask/c-{n}/q"})
    vlm, asks = (s for s in topology.streams(TopologySettings()) if s.name in (names.VLM, names.ASKS))
    await js.delete_consumer(names.VLM, "vlm-ask")
    await js.update_stream(vlm)
    await js.add_stream(StreamConfig(**{**vars(asks), "max_msgs": -1}))
    # Five are in the new stream and still in the old one; the mover's consumer still exists.
    mover = ConsumerConfig(durable_name="moving", filter_subjects=asks.subjects, ack_policy=AckPolicy.EXPLICIT)
    await js.add_consumer(names.VLM, mover)
    for job in await (await js.pull_subscribe_bind("moving", names.VLM)).fetch(5):
        stored = dict(job.headers or {})
        await js.publish(job.subject, job.data, headers=stored | {ids.HEADER: ids.Sealed(stored[ids.HEADER])})
    await topology.apply(js, TopologySettings())
    assert [await waiting(admin, stream) for stream, _ in names.VLM_WORK] == [0, 20, 0]
    with pytest.raises(NotFoundError):
        await js.consumer_info(names.VLM, "moving")
