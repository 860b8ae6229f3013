"""The choice of the next message, alone or not; and workers that a message kills."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.aio.client import Client

from shared.contract import deadletters, names
from shared.runtime.backoff import Backoff
from shared.worker import Message
from shared.worker.extensions.quarantine import Arrived, Quarantine, suspect_from
from tests.support.processes import service
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
from tidegate.local.scaling.replicas import Replicas
from tidegate.local.server import NatsServer

THRESHOLDS = (3, 5)
QUARANTINE = Quarantine(THRESHOLDS)
MESSAGES = st.lists(
    st.builds(Arrived, rank=st.integers(0, 1), seq=st.integers(1, 99), deliveries=st.integers(1, 9)),
    max_size=12,
    unique_by=lambda m: (m.rank, m.seq),
).map(lambda found: sorted(found, key=lambda m: m.rank))


@given(MESSAGES)
def test_suspects_come_last_and_alone(arrived: list[Arrived]) -> None:
    turn = QUARANTINE.next(arrived)
    well = [m for m in arrived if m.deliveries < THRESHOLDS[m.rank]]
    assert all(QUARANTINE.is_suspect(m.rank, m.deliveries) == (m not in well) for m in arrived)
    if not arrived:
        assert turn is None
    else:
        assert turn is not None
        assert turn.alone == (not well)
        if well:
            assert arrived[turn.which] == well[0], "the most urgent, and of those the oldest"


@given(
    st.sets(st.tuples(st.integers(0, 1), st.integers(1, 99)), min_size=1, max_size=8),
    st.integers(0, 7),
    st.integers(0, 1),
)
def test_two_further_deliveries_isolate_a_poison_message(held: set[tuple[int, int]], which: int, later: int) -> None:
    """A process that dies of it restarts, and gets the same messages, one delivery further."""
    poison = sorted(held)[which % len(held)]
    left, deliveries = set(held), max(THRESHOLDS) + later
    for _ in range(2):
        while True:
            arrived = [Arrived(rank, seq, deliveries) for rank, seq in sorted(left)]
            turn = QUARANTINE.next(arrived)
            assert turn is not None and turn.alone
            rank, seq, _ = arrived[turn.which]
            if (rank, seq) == poison:
                break
            left.remove((rank, seq))
        deliveries += 1
    assert left == {poison}


@given(MESSAGES, st.randoms())
def test_the_choice_of_a_suspect_does_not_depend_on_the_order_of_arrival(
    arrived: list[Arrived], chance: object
) -> None:
    suspects = [m._replace(deliveries=m.deliveries + 4) for m in arrived]
    shuffled = sorted(suspects, key=lambda m: (m.rank, chance.random()))  # type: ignore[attr-defined]
    turn, other = QUARANTINE.next(suspects), QUARANTINE.next(shuffled)
    assert (turn and suspects[turn.which]) == (other and shuffled[other.which])


def test_a_message_of_a_model_server_is_a_suspect_after_half_of_its_deliveries() -> None:
    assert suspect_from(10, at_least=3, is_server=True) == 5
    assert suspect_from(5, at_least=3, is_server=True) == 3
    assert suspect_from(10, at_least=3, is_server=False) == 3
    assert suspect_from(-1, at_least=3, is_server=True) == 3, "delivered without limit"


@pytest.mark.slow
async def test_a_deadly_message_does_not_dead_letter_its_neighbours(
    server: NatsServer, admin: Client, tmp_path: Path
) -> None:
    """Five deliveries of a deadly message kill five workers, each with other messages in flight."""
    await shorten(admin, ack_wait=3.0)
    seqs = await publish(admin, ["a", "b", "c", "deadly", "d", "e", "f", "g"])
    pool = Replicas(
        "cv",
        [sys.executable, "-m", "tests.support.processes.crashing_worker"],
        server.environment("cv"),
        tmp_path / "logs",
        backoff=Backoff(first_s=0.1, longest_s=0.2),
    )
    await pool.scale_to(1)
    try:
        async with asyncio.timeout(patience_s()):
            while not (found := await letters(admin)):
                await asyncio.sleep(0.2)
        await settled(admin)
    finally:
        await pool.close()
    assert [x.stream_seq for x in found] == [seqs[3]]
    assert sorted(await results(admin)) == [s for s in seqs if s != seqs[3]]
    assert pool.restarts == 5


async def test_a_suspect_of_another_service_blocks_nothing(server: NatsServer, admin: Client) -> None:
    js = admin.jetstream()
    await js.publish(names.media("lobby"), b"other's", headers=head(0) | {deadletters.REPLAY_FOR: "embed"})
    sub = await js.pull_subscribe_bind("cv", "MEDIA")
    for _ in range(2):
        await (await sub.fetch(1))[0].nak()
    async with working(server, Echo()):
        await settled(admin)
        seqs = await publish(admin, ["a", "b"], first=1)
        await settled(admin)
    assert sorted(await results(admin)) == seqs


async def test_a_worker_with_a_suspect_gets_no_other_message(server: NatsServer, admin: Client) -> None:
    """If the worker died, each of those would lose a delivery, however soon after the suspect they came."""
    js = admin.jetstream()
    await publish(admin, ["suspect"])
    sub = await js.pull_subscribe_bind("cv", "MEDIA")
    for _ in range(2):
        await (await sub.fetch(1))[0].nak()
    begun, go_on = asyncio.Event(), asyncio.Event()

    class Slow(Echo):
        async def prepare(self, message: Message) -> Job:
            if message.data == b"suspect":
                begun.set()
                await go_on.wait()
            return await super().prepare(message)

    async with working(server, Slow(), threads=2):
        await asyncio.wait_for(begun.wait(), patience_s())
        await publish(admin, ["a", "b", "c"], first=1)
        assert await service.counted(admin, 4) == (1, 3)
        go_on.set()
        await settled(admin)
    assert len(await results(admin)) == 4


# For consumers of jobs, with a maximum of ten deliveries.
SUSPECT_JOB = 5


async def test_a_suspect_runs_alone_and_blocks_no_urgent_work(server: NatsServer, admin: Client) -> None:
    """Two suspect captions, together with other work that is not suspect."""
    js = admin.jetstream()
    held: list[int] = []

    class Looking(Served):
        async def prepare(self, message: Message) -> Job:
            if message.data.startswith(b"suspect"):
                await asyncio.sleep(0.3)
                infos = [await js.consumer_info(*work) for work in names.VLM_WORK]
                held.append(sum(info.num_ack_pending for info in infos))
                if len(held) == 1:
                    await publish_job(admin, "verify", "urgent", 9)
            return await super().prepare(message)

    for n in range(2):
        await publish_job(admin, "caption", f"suspect {n}", n)
    sub = await js.pull_subscribe_bind("vlm-caption", "CAPTIONS")
    for _ in range(SUSPECT_JOB - 1):
        # A fetch returns only what is available: a message that was just handed back may be missing.
        taken = []
        while len(taken) < 2:
            taken += await sub.fetch(2 - len(taken))
        for message in taken:
            await message.nak()
    for n in range(2):
        await publish_job(admin, "verify", f"v{n}", 3 + n)
        await publish_job(admin, "ask", f"a{n}", 5 + n)
    service = Looking()
    service.gate.set()
    async with serving_jobs(server, service):
        await until(lambda: len(service.done) == 7)
    assert sorted(service.done[:4]) == ["a0", "a1", "v0", "v1"]
    assert service.done[4].startswith("suspect") and service.done[5] == "urgent"
    # The second caption waits here during the first: only suspects do.
    assert held == [2, 1]
