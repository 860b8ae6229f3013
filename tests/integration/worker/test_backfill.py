"""Work that a worker defers, and backfills while it is idle: over a real server, with cv's few rights."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace
from nats.aio.client import Client

from shared.client import dlq
from shared.contract import events, names
from shared.contract.events import Detections, Embeddings, Timing
from shared.contract.segment import to_headers
from shared.contract.work import backfill, stats
from shared.contract.work.stats import WorkerStats
from shared.runtime.errors import BadMessage
from shared.worker import Message
from tests.support.processes.cv_worker import detecting
from tests.support.processes.echo_service import Job, head, letters, publish
from tests.support.video.footage import make
from tests.support.waiting import LONGEST_S, patience_s, until
from tests.support.worlds.backfill import LOW, firsts, revisions, stored
from tests.support.worlds.degradable_worker import (
    NOW,
    DegradableEcho,
    busy,
    counted,
    degradable_worker,
    frames_never,
    settled,
    two_beats,
)
from tidegate.demo import clips
from tidegate.local.server import NatsServer


async def test_deferred_segments_are_backfilled_when_idle(server: NatsServer, admin: Client) -> None:
    seqs = await publish(admin, ["low a", "b", "low c"])
    service, before = DegradableEcho(), counted("done")
    async with degradable_worker(server, service):
        await settled(admin)
    first = await firsts(admin)
    assert {id: event.segment.seq for id, event in first.items()} == {f"cv/echo/MEDIA/{n}": n for n in seqs}
    found = await revisions(admin)
    assert {(r.revises, r.segment.seq, r.model, r.quality, r.lost) for r in found} == {
        (f"cv/echo/MEDIA/{n}", n, f"all of {text}", None, None) for n, text in ((seqs[0], "low a"), (seqs[2], "low c"))
    }
    (revision, _) = await stored(admin, "events.revisions.>")
    assert revision.subject == "events.revisions.detections.lobby"
    assert revision.headers["ce-id"] == f"{found[0].revises}/full"
    assert counted("done") - before == 2
    assert (await admin.jetstream().stream_info("BACKFILL")).state.messages == 0


async def test_a_backfill_has_the_segment_of_the_first_delivery(server: NatsServer, admin: Client) -> None:
    """Data, headers, subject, stream and sequence, and the age in the store."""
    (seq,) = await publish(admin, ["low"])
    service = DegradableEcho()
    async with degradable_worker(server, service):
        await settled(admin)
    (again,) = service.again
    assert (again.data, again.subject, again.stream, again.seq) == (b"low", "media.lobby", "MEDIA", seq)
    assert again.headers["Camera"] == "lobby" and again.revises == f"cv/echo/MEDIA/{seq}"
    assert again.origin == f"MEDIA/{seq}" and 0 <= again.queued_s < LONGEST_S


async def test_the_job_is_stored_before_the_event_and_both_before_the_acknowledgement(
    server: NatsServer, admin: Client
) -> None:
    reports: list[str] = []

    async def heard(message: object) -> None:
        subject: str = message.subject  # type: ignore[attr-defined]
        reports.append("ack" if subject.startswith("$JS.ACK.MEDIA.") else subject.split(".")[0])

    for subject in ("jobs.>", "events.detections.>", "$JS.ACK.MEDIA.>"):
        await admin.subscribe(subject, cb=heard)
    await admin.flush()
    await publish(admin, ["low"])
    async with degradable_worker(server, DegradableEcho()):
        await settled(admin)
    assert reports[:3] == ["jobs", "events", "ack"]


async def test_nothing_is_backfilled_while_urgent_work_is_in_flight(server: NatsServer, admin: Client) -> None:
    async with busy(server, admin) as (service, _):
        await two_beats(admin)
        assert service.again == []
        service.gate.set()
        await settled(admin)
        assert len(service.again) == 1
    assert [r.lost for r in await revisions(admin)] == [None]


async def test_urgent_work_waits_for_at_most_one_segment(server: NatsServer, admin: Client) -> None:
    """The device has one of ten deferred segments; urgent work that comes then is next."""
    service = DegradableEcho(infer_s=0.3)
    async with degradable_worker(server, service, threads=3):
        await publish(admin, [f"low {n}" for n in range(10)])
        await until(lambda: any(text.startswith("all of") for batch in service.batches for text in batch))
        await publish(admin, ["urgent"], first=10)
        await settled(admin)
    done = [text for batch in service.batches for text in batch]
    first = next(n for n, text in enumerate(done) if text.startswith("all of"))
    assert done.index("urgent") <= first + 3 < len(done) - 6


async def test_backfill_counts_in_no_scaling_rate(server: NatsServer, admin: Client) -> None:
    beats = await admin.subscribe("scale.cv.>")
    service = DegradableEcho(infer_s=0.2)

    async def last_beat() -> WorkerStats:
        while beats.pending_msgs:
            await beats.next_msg()
        return stats.decode((await beats.next_msg(timeout=patience_s())).data)

    async with degradable_worker(server, service):
        await publish(admin, ["low a", "low b", "low c"])
        await settled(admin)
        await last_beat()
        beat = await last_beat()
    assert (beat.processed, beat.failed, beat.backfilled, beat.items, beat.in_flight) == (3, 0, 3, 6, 0)
    assert beat.frames_never == 0
    assert beat.backfilling_s >= 3 * 0.2 and beat.working_s < beat.busy_s
    assert beat.busy_s >= beat.backfilling_s


async def test_a_backfill_job_without_room_does_not_delay_its_event(server: NatsServer, admin: Client) -> None:
    js, before, never = admin.jetstream(), counted("no_room"), frames_never()
    config = (await js.stream_info("BACKFILL")).config
    await js.update_stream(config.evolve(max_bytes=1))
    seqs = await publish(admin, ["low a", "b"])
    async with degradable_worker(server, DegradableEcho()):
        await settled(admin)
    qualities = {event.segment.seq: event.quality for event in (await firsts(admin)).values()}
    assert qualities == {seqs[0]: LOW, seqs[1]: None}
    (lost,) = await revisions(admin)
    assert (lost.revises, lost.lost) == (f"cv/echo/MEDIA/{seqs[0]}", "no_room")
    assert counted("no_room") - before == 1
    assert frames_never() - never == 4  # of five wanted


async def test_a_drain_returns_its_jobs_immediately(server: NatsServer, admin: Client) -> None:
    """A job that is not returned is redelivered after the ack wait, which is longer than this test waits."""
    js = admin.jetstream()
    config = (await js.consumer_info("BACKFILL", "cv-backfill")).config
    config.ack_wait = 3000.0
    await js.add_consumer("BACKFILL", config)
    await publish(admin, [f"low {n}" for n in range(4)])
    slow = DegradableEcho()
    begun = asyncio.Event()
    whole = slow.prepare

    async def prepare(message: Message) -> Job:
        if message.revises:
            begun.set()
            await asyncio.sleep(3000)
        return await whole(message)

    slow.prepare = prepare  # type: ignore[method-assign]
    async with degradable_worker(server, slow) as stop:
        await asyncio.wait_for(begun.wait(), patience_s())
        stop.set()
    async with degradable_worker(server, DegradableEcho()):
        await settled(admin)
    assert Counter(r.lost for r in await revisions(admin)) == {None: 4}


async def test_a_replay_of_a_dead_letter_has_the_ids_of_the_original(server: NatsServer, admin: Client) -> None:
    (seq,) = await publish(admin, ["low"])
    async with degradable_worker(server, DegradableEcho(fail=lambda text, tries: BadMessage("a bug of ours"))):
        await settled(admin)
    (letter,) = await letters(admin)
    await admin.jetstream().delete_msg("MEDIA", seq)
    service = DegradableEcho()
    async with degradable_worker(server, service):
        again = await dlq.replay(admin, letter)
        await settled(admin)
    assert list(await firsts(admin)) == [f"cv/echo/MEDIA/{seq}"]
    (revision,) = await revisions(admin)
    assert (revision.revises, revision.segment.seq, revision.lost) == (f"cv/echo/MEDIA/{seq}", again, None)


async def test_the_first_stored_event_stands(server: NatsServer, admin: Client) -> None:
    """A worker has died after its event: both PubAcks report a duplicate to the next worker."""
    js = admin.jetstream()
    (seq,) = await publish(admin, ["low"])
    id = f"cv/echo/MEDIA/{seq}"
    async with degradable_worker(server, DegradableEcho()):
        await settled(admin)
    await js.publish(names.media("lobby"), b"low", headers=head(0) | {"Replay-Of": f"MEDIA/{seq}", "Nats-Msg-Id": "r"})
    async with degradable_worker(server, DegradableEcho()):
        await settled(admin)
    assert list(await firsts(admin)) == [id]
    assert [r.revises for r in await revisions(admin)] == [id]


async def test_all_frames_of_real_video_are_finally_analysed(server: NatsServer, admin: Client, tmp_path: Path) -> None:
    """This includes segments that depend on earlier ones. All of these are beyond the latency target."""
    js, key = admin.jetstream(), 0
    for piece in clips.pieces(make(tmp_path / "v.mp4", frames=100, fps=25, gop=50), "lobby"):
        head = replace(piece.segment, key_seq=key if piece.dependent else None)
        seq = (await js.publish(names.media("lobby"), piece.payload, headers=to_headers(head))).seq
        key = key if piece.dependent else seq
    await asyncio.sleep(0.5)
    async with detecting(server, cv_latency_target_s=0.1, cv_fps=5.0, cv_fps_floor=1.0):
        await settled(admin)
    first = await firsts(admin)
    assert len(first) == 4 and {event.quality for event in first.values()} == {LOW}
    found = {revision.revises: revision for revision in await revisions(admin)}
    assert found.keys() == first.keys()
    for id, revision in found.items():
        assert len(first[id].frames) < len(revision.frames) and revision.quality is None
        assert (revision.segment, revision.start) == (first[id].segment, first[id].start)
        assert first[id].frames[0] in revision.frames


def test_a_job_survives_encoding() -> None:
    segment = events.SegmentRef(stream="MEDIA", seq=3, epoch="e", n=1)
    of_both = {
        "camera": "lobby", "segment": segment, "start": NOW, "duration": 2.0, "model": "m", "quality": LOW,
        "timing": Timing(queued_ms=1, decode_ms=2, infer_ms=3),
    }  # fmt: skip
    for first in (Detections(**of_both, frames=[]), Embeddings(**of_both, vectors=[], dimension=8)):
        job = backfill.job_of(first, "an/id", stream="MEDIA", seq=4)
        assert backfill.decode("cv", "jobs.cv.backfill.lobby", backfill.encode(job)) == job
        assert (job.frames, job.seq) == (8, 4)
        lost = backfill.lost(job, "expired")
        assert (lost.kind, lost.segment, lost.start, lost.lost) == (names.revised(first.kind), segment, NOW, "expired")
        assert type(events.decode(events.encode(lost), type(lost), events.subject(lost))) is type(lost)
    for at, reply in (
        ("jobs.cv.backfill.yard", backfill.encode(job)),
        ("jobs.embed.backfill.lobby", backfill.encode(job)),
        ("jobs.cv.backfill.lobby", b"["),
        ("jobs.cv.backfill.lobby", backfill.encode(msgspec.structs.replace(job, start=NOW.replace(year=1900)))),
    ):
        with pytest.raises(BadMessage):
            backfill.decode("cv", at, reply)
