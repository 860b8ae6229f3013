"""The worker loop over a real server, with a service whose work is a sleep of a few milliseconds."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest
from nats.aio.client import Client

from shared import bus
from shared.client import dlq
from shared.contract import deadletters, names
from shared.contract.work import stats
from shared.runtime.errors import BadMessage, BusError
from shared.runtime.telemetry import Health
from shared.worker import Message, Worker, WorkerSettings, scheduling
from tests.support.processes.echo_service import (
    Echo,
    Job,
    Served,
    head,
    letters,
    publish,
    publish_job,
    results,
    serving_jobs,
    settled,
    shorten,
    working,
)
from tests.support.waiting import patience_s, until
from tidegate.local.server import NatsServer


async def test_every_message_has_one_event(server: NatsServer, admin: Client) -> None:
    seqs = await publish(admin, [f"m{i}" for i in range(50)])
    async with working(server, Echo()):
        await settled(admin)
    assert sorted(await results(admin)) == seqs


async def test_event_carries_cloudevents_and_trace(server: NatsServer, admin: Client) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    await admin.jetstream().publish(names.media("lobby"), b"m", headers=head(0) | {"traceparent": trace})
    async with working(server, Echo()):
        await settled(admin)
    raw = await admin.jetstream().get_msg("EVENTS", 1, direct=True)
    headers = raw.headers or {}
    assert headers["ce-id"] == "cv/echo/MEDIA/1" and headers["Nats-Msg-Id"] != headers["ce-id"]
    assert headers["ce-type"] == "tidegate.detections.v1"
    assert headers["ce-subject"] == "lobby"
    assert headers["traceparent"].split("-")[1] == trace.split("-")[1]
    assert raw.subject == "events.detections.lobby"


async def test_batches_fill_while_the_device_is_busy(server: NatsServer, admin: Client) -> None:
    await publish(admin, [f"m{i}" for i in range(20)])
    service = Echo(infer_s=0.05)
    async with working(server, service):
        await settled(admin)
    assert max(len(b) for b in service.batches) == 4
    assert all(len(b) <= 4 for b in service.batches)


async def test_a_hopeless_message_is_dead_lettered_immediately(server: NatsServer, admin: Client) -> None:
    seqs = await publish(admin, ["good", "broken", "good"])
    service = Echo(fail=lambda text, n: BadMessage("it is broken") if text == "broken" else None)
    async with working(server, service):
        await settled(admin)
    assert sorted(await results(admin)) == [seqs[0], seqs[2]]
    (letter,) = await letters(admin)
    assert (letter.stream_seq, letter.reason, letter.payload) == (seqs[1], "it is broken", b"broken")
    assert service.prepared.count("broken") == 1


async def test_a_failed_message_is_redelivered(server: NatsServer, admin: Client) -> None:
    seqs = await publish(admin, ["flaky"])
    service = Echo(fail=lambda text, tries: OSError("not yet") if tries < 2 else None)
    async with working(server, service):
        await settled(admin)
    assert await results(admin) == seqs
    assert await letters(admin) == []


async def test_the_last_delivery_is_dead_lettered(server: NatsServer, admin: Client) -> None:
    await shorten(admin, max_deliver=2)
    seqs = await publish(admin, ["hopeless"])
    async with working(server, Echo(fail=lambda text, tries: OSError("never"))):
        await settled(admin)
    (letter,) = await letters(admin)
    assert (letter.stream_seq, letter.deliveries, letter.reason) == (seqs[0], 2, "never")


async def test_one_bad_item_does_not_fail_its_batch(server: NatsServer, admin: Client) -> None:
    await shorten(admin, max_deliver=1)
    seqs = await publish(admin, ["a", "poison", "b", "c"])
    async with working(server, Echo(), batch_wait_s=0.5):
        await settled(admin)
    assert sorted(await results(admin)) == [seqs[0], seqs[2], seqs[3]]
    assert [x.stream_seq for x in await letters(admin)] == [seqs[1]]


@pytest.mark.slow
async def test_slow_work_is_not_redelivered(server: NatsServer, admin: Client) -> None:
    """Six seconds on the device and an ack wait of three: progress reports prevent redelivery."""
    await shorten(admin, ack_wait=3.0)
    seqs = await publish(admin, ["a", "b"])
    service = Echo(infer_s=6.0)
    async with working(server, service, batch_size=1):
        await settled(admin)
    assert sorted(await results(admin)) == seqs
    assert sorted(service.prepared) == ["a", "b"]


@pytest.mark.slow
async def test_heartbeats_count_the_time_with_work_in_flight(server: NatsServer, admin: Client) -> None:
    """Two bursts with a pause between: idle time is no working time, and no working time is lost between samples."""
    beats = await admin.subscribe("scale.cv.>")
    service = Echo(infer_s=0.3)

    async def last_beat() -> stats.WorkerStats:
        while beats.pending_msgs:
            await beats.next_msg()
        return stats.decode((await beats.next_msg(timeout=patience_s())).data)

    async with working(server, service, batch_size=1, hold=1):
        assert (await last_beat()).working_s == 0.0
        passed_s = 0.0
        for n in range(2):
            began = time.monotonic()
            await publish(admin, ["a", "b"], first=2 * n)
            await settled(admin)
            first = await last_beat()
            passed_s += time.monotonic() - began
            await last_beat()
            later = await last_beat()
            assert later.working_s == first.working_s
    assert later.processed == 4
    assert 4 * 0.3 <= later.working_s <= passed_s


async def test_a_drain_returns_buffered_messages(server: NatsServer, admin: Client) -> None:
    """A message that is not returned is redelivered after the ack wait."""
    await shorten(admin, ack_wait=300.0)
    seqs = await publish(admin, [f"m{i}" for i in range(12)])
    async with working(server, Echo(infer_s=0.4), batch_size=2) as stop:
        await asyncio.sleep(0.5)
        stop.set()
    async with working(server, Echo()):
        await settled(admin)
    assert sorted(await results(admin)) == seqs


@pytest.mark.slow
async def test_a_server_that_dies_under_load_loses_nothing(server: NatsServer, admin: Client) -> None:
    seqs = await publish(admin, [f"m{i}" for i in range(60)])
    async with working(server, Echo(infer_s=0.05), batch_size=2):
        await asyncio.sleep(0.4)
        await server.restart(signal.SIGKILL)
        await settled(admin)
    assert sorted(await results(admin)) == seqs


async def test_a_replay_is_for_its_service_alone_and_counts_once(server: NatsServer, admin: Client) -> None:
    seqs = await publish(admin, ["once"])
    async with working(server, Echo(fail=lambda text, tries: BadMessage("a bug of ours"))):
        await settled(admin)
    (letter,) = await letters(admin)
    js = admin.jetstream()
    other = msgspec.structs.replace(letter, service="embed")
    async with working(server, Echo()):
        await dlq.replay(admin, letter)
        await settled(admin)
        assert len(await results(admin)) == 1
        for again in (msgspec.structs.replace(letter, seq=98), msgspec.structs.replace(other, seq=99)):
            await js.publish(again.subject, again.payload or b"", headers=deadletters.replay_headers(again))
        await settled(admin)
    assert len(await results(admin)) == 1, "a replay of what got through changes nothing"
    raw = await js.get_msg("EVENTS", 1, direct=True)
    assert (raw.headers or {})["ce-id"] == f"cv/echo/MEDIA/{seqs[0]}"


async def test_a_deadly_message_is_dead_lettered(server: NatsServer, admin: Client) -> None:
    """Without an answer the deliveries run out: only the advisory reports it, and it is a dead letter."""
    await shorten(admin, max_deliver=1, ack_wait=0.5)
    seqs = await publish(admin, ["deadly"])
    sub = await admin.jetstream().pull_subscribe_bind("cv", "MEDIA")
    await sub.fetch(1)
    async with asyncio.timeout(patience_s()):
        while not (found := await letters(admin)):
            await asyncio.sleep(0.1)
    assert (found[0].stream_seq, found[0].payload) == (seqs[0], b"deadly")
    assert "died" in found[0].reason


async def test_a_missing_consumer_is_an_error_with_a_remedy(server: NatsServer, admin: Client) -> None:
    await admin.jetstream().delete_consumer("MEDIA", "cv")
    with pytest.raises(BusError, match="tidegate setup"):
        async with working(server, Echo()):
            await asyncio.sleep(1)


async def test_a_broken_device_dead_letters_nothing_and_ends_its_process(server: NatsServer, admin: Client) -> None:
    seqs = await publish(admin, [f"m{i}" for i in range(12)])
    broken = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.support.processes.crashing_worker",
        env=os.environ | server.environment("cv") | {"DEVICE": "broken"},
    )
    async with asyncio.timeout(patience_s()):
        assert await broken.wait() == 70
    async with working(server, Echo()):
        await settled(admin)
    assert sorted(await results(admin)) == seqs
    assert await letters(admin) == []


async def test_a_drain_finishes_final_deliveries(server: NatsServer, admin: Client) -> None:
    await shorten(admin, max_deliver=1)
    seqs = await publish(admin, ["a", "b", "c"])
    async with working(server, Echo(prepare_s=0.3)) as stop:
        while (await admin.jetstream().consumer_info("MEDIA", "cv")).num_pending:
            await asyncio.sleep(0.02)
        stop.set()
    assert sorted(await results(admin)) == seqs
    assert await letters(admin) == []


async def test_a_message_that_no_client_may_forward_is_dead_lettered(server: NatsServer, admin: Client) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(server.url.rpartition(":")[2]))
    await reader.readline()
    password = server.settings("admin").nats_password
    connect = {"user": "admin", "pass": password, "headers": True, "verbose": False}
    block = b"NATS/1.0\r\nX@Y: odd\r\nLong: " + b"x" * 5000 + b"\r\n\r\n"
    writer.write(b"CONNECT " + msgspec.json.encode(connect) + b"\r\n")
    writer.write(b"HPUB media.lobby %d %d\r\n" % (len(block), len(block) + 2) + block + b"hi\r\nPING\r\n")
    assert await reader.readline() == b"PONG\r\n"
    writer.close()
    seqs = await publish(admin, ["good"])
    async with working(server, Echo()):
        await settled(admin)
    assert await results(admin) == seqs
    (letter,) = await letters(admin)
    assert letter.payload == b"hi"


async def test_urgent_work_overtakes_all_work_not_on_the_device(server: NatsServer, admin: Client) -> None:
    service = Served()
    for n in range(30):
        await publish_job(admin, "caption", f"c{n}", n)
    async with serving_jobs(server, service):
        # Three on the device, and the permitted number prepared behind them.
        await until(lambda: service.at_once == 3 and len(service.prepared) >= 6)
        await publish_job(admin, "ask", "question", 100)
        await publish_job(admin, "verify", "urgent", 101)
        await until(lambda: {"question", "urgent"} <= set(service.prepared))
        service.gate.set()
        await until(lambda: len(service.done) == 32)
    # The most urgent message has a slot of its own next to the three, and waits for none of them.
    assert sorted(service.done[:4]) == ["c0", "c1", "c2", "urgent"]
    assert service.done[4] == "question"
    assert sorted(service.done[5:]) == sorted(f"c{n}" for n in range(3, 30))
    assert service.most == 4


async def test_an_absent_server_ends_no_process(server: NatsServer, admin: Client) -> None:
    """Three consecutive failures on a device end its process; an unreachable server is no device."""
    service = Served()
    service.gate.set()
    for n in range(4):
        await publish_job(admin, "verify", "away", n)
    async with serving_jobs(server, service) as stop:
        async with asyncio.timeout(patience_s()):
            while (await admin.jetstream().consumer_info("VLM", "vlm-verify")).num_redelivered < 4:
                await asyncio.sleep(0.05)
        assert not stop.is_set()
        await publish_job(admin, "caption", "fine", 9)
        await until(lambda: "fine" in service.done)
    assert await letters(admin) == []


async def test_a_worker_can_be_run_again_after_its_drain(server: NatsServer, admin: Client) -> None:
    client = await bus.connect(server.settings("cv"), "cv")
    service = Echo()
    worker = Worker(client, service, WorkerSettings(batch_size=4), Health(), consumers=[("MEDIA", "cv")])
    for turn in range(3):
        seqs = await publish(admin, [f"{turn}-{n}" for n in range(5)], first=5 * turn)
        stop = asyncio.Event()
        running = asyncio.create_task(worker.run(stop))
        await settled(admin)
        stop.set()
        await running
        assert (await results(admin))[-5:] == seqs
    await client.close()


class _Scheduled(Echo):
    """Records the scheduling policy of the threads that prepare and infer."""

    def __init__(self) -> None:
        super().__init__()
        self.policies: dict[str, int] = {}

    async def prepare(self, message: Message) -> Job:
        self.policies["loop"] = os.sched_getscheduler(0)
        with ThreadPoolExecutor(1) as new:
            self.policies["thread"] = new.submit(os.sched_getscheduler, 0).result()
        return await super().prepare(message)

    def infer(self, batch: Sequence[Job]) -> list[str]:
        self.policies["device"] = os.sched_getscheduler(0)
        return super().infer(batch)


async def test_the_devices_thread_is_preempted_by_none_that_feed_it(server: NatsServer, admin: Client) -> None:
    await publish(admin, ["one"])
    service = _Scheduled()
    async with working(server, service):
        await settled(admin)
    assert service.policies == {"loop": os.SCHED_BATCH, "thread": os.SCHED_BATCH, "device": os.SCHED_OTHER}
    assert os.sched_getscheduler(0) == os.SCHED_OTHER


def test_a_policy_of_the_operator_stays() -> None:
    def policies() -> list[int]:
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        found = []
        for change in (scheduling.wait_for_cores, scheduling.take_cores):
            change()
            found.append(os.sched_getscheduler(0))
        return found

    # In a thread of its own: no thread may leave this policy without a privilege.
    with ThreadPoolExecutor(1) as threads:
        assert threads.submit(policies).result() == [os.SCHED_IDLE, os.SCHED_IDLE]
