"""Deferred work that can't be done later: it is counted as lost, and blocks nothing."""

from __future__ import annotations

import asyncio

import pytest
from msgspec.structs import replace
from nats.aio.client import Client

from shared.runtime.errors import BadSegment, Expired
from tests.support.processes.echo_service import letters, publish
from tests.support.waiting import until
from tests.support.worlds.backfill import revisions
from tests.support.worlds.degradable_worker import (
    TUNING,
    DegradableEcho,
    busy,
    degradable_worker,
    first_of,
    frames_never,
    put_off,
    settled,
    two_beats,
)
from tidegate.local.server import NatsServer


async def test_an_expired_segment_is_reported_lost_even_without_a_time(server: NatsServer, admin: Client) -> None:
    await publish(admin, ["so that the stream is not empty"], first=1)
    never = frames_never()
    async with busy(server, admin) as (service, seq):
        await admin.jetstream().delete_msg("MEDIA", seq)
        while not (found := await revisions(admin)):
            await asyncio.sleep(0.05)
        assert not service.gate.is_set() and service.again == []
    (lost,) = found
    await until(lambda: frames_never() - never == 4)  # of five wanted
    assert (lost.lost, lost.frames, lost.revises) == ("expired", [], f"cv/echo/MEDIA/{seq}")
    first = first_of(seq)
    assert (lost.segment, lost.start, lost.duration, lost.camera) == (
        first.segment,
        first.start,
        first.duration,
        first.camera,
    )


@pytest.mark.parametrize("fails", ["in decoding", "for what it is decoded from"])
async def test_an_undecodable_backfill_is_reported_lost_without_a_dead_letter(
    server: NatsServer, admin: Client, fails: str
) -> None:
    error = {"in decoding": BadSegment("half a file"), "for what it is decoded from": Expired("its GOP is gone")}[fails]
    service = DegradableEcho(fail=lambda text, tries: error if tries > 1 else None)
    await publish(admin, ["low"])
    async with degradable_worker(server, service):
        await settled(admin)
    (lost,) = await revisions(admin)
    assert lost.lost == {"in decoding": "unreadable", "for what it is decoded from": "expired"}[fails]
    assert await letters(admin) == []


async def test_a_failing_backfill_job_is_retried_and_finally_lost(server: NatsServer, admin: Client) -> None:
    flaky = DegradableEcho(fail=lambda text, tries: OSError("not yet") if tries in (2, 3) else None)
    await publish(admin, ["low"])
    async with degradable_worker(server, flaky):
        await settled(admin)
        (good,) = await revisions(admin)
    assert good.lost is None


async def test_a_suspect_job_is_abandoned(server: NatsServer, admin: Client) -> None:
    """After four deliveries without an answer it is not tried again."""
    (seq,) = await publish(admin, ["b"])
    await put_off(admin, seq)
    sub = await admin.jetstream().pull_subscribe_bind("cv-backfill", "BACKFILL")
    for _ in range(4):
        await (await sub.fetch(1))[0].nak()
    service = DegradableEcho()
    async with degradable_worker(server, service):
        await settled(admin)
    (lost,) = await revisions(admin)
    assert (lost.lost, service.again) == ("unreadable", [])


async def test_an_unreadable_store_loses_nothing(server: NatsServer, admin: Client) -> None:
    """nats-server answers 404 for unreadable data, as for an empty stream: a single answer is not believed."""
    async with busy(server, admin, replace(TUNING, blind_s=1e9)):
        await admin.jetstream().purge_stream("MEDIA")
        await two_beats(admin)
        assert await revisions(admin) == []
        await publish(admin, ["what can be read again"], first=1)
        while not (found := await revisions(admin)):
            await asyncio.sleep(0.05)
    assert [r.lost for r in found] == ["expired"]


async def test_a_stream_that_stays_empty_counts_as_empty(server: NatsServer, admin: Client) -> None:
    async with busy(server, admin):
        await admin.jetstream().purge_stream("MEDIA")
        while not (found := await revisions(admin)):
            await asyncio.sleep(0.05)
    assert [r.lost for r in found] == ["expired"]


async def test_an_invalid_job_is_dead_lettered(server: NatsServer, admin: Client) -> None:
    await admin.jetstream().publish("jobs.cv.backfill.lobby", b"{}")
    async with degradable_worker(server, DegradableEcho()):
        await settled(admin)
    (letter,) = await letters(admin)
    assert (letter.stream, letter.service) == ("BACKFILL", "cv") and "not what was put off" in letter.reason
