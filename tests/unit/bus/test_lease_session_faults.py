"""Faults of sessions, step by step, with the bucket and the clock of `lease_model`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from unittest import mock

import pytest

from shared.bus.leasing.state import LeaseState
from tests.support.worlds.lease_model import LEASE_S, STEP_S, Bucket, Process, Store, clock_of


@pytest.fixture
def bucket() -> Iterator[Bucket]:
    bucket = Bucket()
    with clock_of(bucket):
        yield bucket


async def pass_s(bucket: Bucket, seconds: float, *processes: Process) -> None:
    for _ in range(int(seconds / STEP_S)):
        bucket.now += STEP_S
        for process in processes:
            await process.step()


async def test_a_holder_back_from_an_outage_does_not_publish_what_an_older_one_has_taken(bucket: Bucket) -> None:
    """It renews its session at the reconnect, before it has read again what it missed."""
    holder, older = Process("new", bucket, []), Process("old", bucket, [], is_older=True)
    await pass_s(bucket, 1, holder, older)
    await holder.claim()
    await pass_s(bucket, LEASE_S, holder, older)
    assert holder.publishes
    older.habits = {Process.claim}
    await pass_s(bucket, 2 * LEASE_S, older)  # without a connection it renews nothing
    assert older.publishes and not holder.publishes
    await holder.leases.keep()
    assert not holder.publishes


async def test_a_taken_thing_of_a_lost_answer_returns_to_its_previous_holder(bucket: Bucket) -> None:
    """That one still works on it: no third process may begin without following it."""
    holder, other, third = (Process(name, bucket, []) for name in ("holder", "other", "third"))
    await pass_s(bucket, 1, holder, other, third)
    await holder.claim()
    await pass_s(bucket, 1, holder, other, third)
    await holder.offer()
    await pass_s(bucket, STEP_S, holder, other, third)
    other.store.fault = "answer"
    await other.claim()
    await pass_s(bucket, 3, holder, other, third)
    assert "lobby" in holder.handover.leaving
    await third.hear()
    await third.claim()
    lease = third.leases.table.get("lobby")
    assert lease is None or lease.state is LeaseState.TAKEN, lease


async def test_a_process_that_withdraws_while_it_begins_a_session_has_none(bucket: Bucket) -> None:
    """Its leases would last with a session that nobody else sees."""
    holder, older, other = (
        Process("holder", bucket, []),
        Process("old", bucket, [], is_older=True),
        Process("other", bucket, []),
    )
    await pass_s(bucket, 1, holder, older, other)
    await holder.claim()
    await pass_s(bucket, 3, holder, older, other)
    # It begins a new session, as another has ended the last one, and withdraws before the answer comes.
    holder.store._write("process.holder", b"/ended/5", None)
    begin = holder.store.put

    async def slow(key: str, value: bytes) -> int:
        revision = await begin(key, value)
        await asyncio.sleep(0.05)
        return revision

    with mock.patch.object(holder.store, "put", slow):
        keeping = asyncio.create_task(holder.leases.keep())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await holder.leases.withdraw()
        await keeping
    assert bucket.last("process.holder").value is None  # type: ignore[union-attr]
    await older.leases.leave()
    other.habits = {Process.claim}
    for _ in range(60):
        await pass_s(bucket, STEP_S, holder, other)
        assert not (holder.publishes and other.publishes)


async def test_an_unknown_entry_that_is_deleted_meanwhile_is_not_deleted_again(bucket: Bucket) -> None:
    """Another process may have the thing by then."""
    holder, other = Process("holder", bucket, []), Process("other", bucket, [])
    await pass_s(bucket, 1, holder, other)
    holder.store._write("camera.lobby", b"holder/5", None)
    await holder.hear()
    update = holder.store.update

    async def meanwhile(key: str, value: bytes, last: int) -> int:
        holder.store._write("camera.lobby", None, None)
        await holder.hear()
        await other.hear()
        await other.claim()
        return await update(key, value, last)

    with mock.patch.object(holder.store, "update", meanwhile):
        await holder.leases.keep()
    last = bucket.last("camera.lobby")
    assert other.publishes and last and last.value == b"other/5"


async def test_claims_do_not_wait_for_an_absent_server_one_after_another(bucket: Bucket) -> None:
    holder, other = Process("holder", bucket, []), Process("other", bucket, [])
    await pass_s(bucket, 1, holder, other)
    things = [f"c{n}" for n in range(16)]
    await asyncio.gather(*(holder.leases.claim(thing) for thing in things))
    await pass_s(bucket, 2 * LEASE_S, other)
    assert all(other.leases.is_free(thing) for thing in things)

    async def hang(*_: object, **__: object) -> int:
        until = bucket.now + LEASE_S / 3
        await asyncio.sleep(0.01)
        bucket.now = max(bucket.now, until)
        raise TimeoutError

    began = bucket.now
    with mock.patch.object(Store, "update", hang):
        await asyncio.gather(*(other.leases.claim(thing) for thing in things))
    assert bucket.now - began <= LEASE_S


async def test_a_session_that_is_renewed_while_a_claim_waits_is_not_ended(bucket: Bucket) -> None:
    """It waits for a claim of another thing, whose request is slow."""
    names = ("holder", "other", "dead")
    holder, other, dead = (Process(name, bucket, []) for name in names)
    await pass_s(bucket, 1, holder, other, dead)
    await holder.claim()
    await dead.leases.claim("yard")
    await pass_s(bucket, 2 * LEASE_S, other)
    update = other.store.update

    async def slow(key: str, value: bytes, last: int) -> int:
        if key == "process.dead":
            await holder.step()
            await other.hear()
            raise TimeoutError
        return await update(key, value, last)

    with mock.patch.object(other.store, "update", slow):
        await asyncio.gather(other.leases.claim("yard"), other.leases.claim("lobby"))
    assert holder.publishes and not other.publishes


async def test_one_thing_without_answers_does_not_end_the_other_leases(bucket: Bucket) -> None:
    holder = Process("holder", bucket, [])
    await pass_s(bucket, 1, holder)
    await holder.claim()
    await holder.leases.claim("yard")
    await pass_s(bucket, 3, holder)
    await holder.leases.keep()
    bucket.now += 0.3 * LEASE_S
    holder.leases.table["yard"].stored_at = None  # it is renewed by itself
    update = holder.store.update

    async def hang(key: str, value: bytes, last: int) -> int:
        if key == "camera.yard":
            await asyncio.sleep(0.02)
            bucket.now += 0.7 * LEASE_S  # a write, a read and another write
            raise TimeoutError
        return await update(key, value, last)

    with mock.patch.object(holder.store, "update", hang):
        keeping = asyncio.create_task(holder.leases.keep())
        while not keeping.done():
            await asyncio.sleep(0)
            assert holder.publishes
        await keeping


async def test_the_end_of_a_session_in_a_former_bucket_counts_for_nothing(bucket: Bucket) -> None:
    holder, other = Process("holder", bucket, []), Process("other", bucket, [])
    for _ in range(50):
        holder.store._write("camera.other", b"x/5", None)
    await pass_s(bucket, 1, holder, other)
    await holder.claim()
    await pass_s(bucket, 2 * LEASE_S, other)
    await other.claim()
    assert other.leases.owned == {"lobby"}
    await other.leases.release("lobby")
    await pass_s(bucket, 3, other)
    # The bucket is created again, with new revisions.
    bucket.writes.clear()
    for process in (holder, other):
        process.copy.__init__(bucket)  # type: ignore[misc]
    await pass_s(bucket, 2 * LEASE_S, holder, other)
    await holder.claim()
    await pass_s(bucket, 2, holder, other)
    assert holder.publishes
    # It hears nothing: the other one is alive.
    other.habits, other.is_deaf = {Process.claim}, True
    for _ in range(40):
        await pass_s(bucket, STEP_S, holder, other)
        assert not (holder.publishes and other.publishes)


async def test_what_its_holder_cannot_renew_is_taken_by_another(bucket: Bucket) -> None:
    """Its session lasts, and its reads fail after a write without an answer: it can't regain the lease."""
    holder, other = Process("holder", bucket, []), Process("other", bucket, [Process.claim])
    await pass_s(bucket, 1, holder)
    await holder.claim()
    await pass_s(bucket, 2, holder, other)
    holder.leases.table["lobby"].stored_at = None  # it is renewed by itself
    update, answers = holder.store.update, iter([False])

    async def unanswered(key: str, value: bytes, last: int) -> int:
        revision = await update(key, value, last)
        if key == "camera.lobby" and not next(answers, True):
            raise TimeoutError
        return revision

    with (
        mock.patch.object(holder.store, "update", unanswered),
        mock.patch.object(holder.store, "get", mock.AsyncMock(side_effect=TimeoutError)),
    ):
        await pass_s(bucket, 4 * LEASE_S, holder, other)
    assert holder.publishes or other.publishes
