"""Ingest end to end: real nats-server, real RTSP server, real processes."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from nats.aio.client import Client

from shared.client import registry
from shared.contract import segment as segments
from shared.contract.segment import Segment
from shared.runtime.ports import free_port
from tests.support.processes.ingest_process import Bus, Ingest, add, assert_gapless, bus, frames_of, start
from tests.support.video import footage
from tests.support.waiting import LONGEST_S, patience_s, until
from tests.support.worlds.ingest_server import LEASE_S, SECRET, leases, looped, rtsp, stored_segments, until_live
from tidegate.local.server import NatsServer

__all__ = ["bus", "rtsp", "start"]

# One camera server, whose video takes seconds to make.
pytestmark = pytest.mark.xdist_group("ingest")


@pytest.mark.slow
async def test_cameras_are_added_changed_and_removed(
    admin: Client, bus: Bus, start: Callable[..., Ingest], rtsp: str
) -> None:
    ingest = start()
    for name in ("short", "long", "hevc", "sound"):
        await add(admin, name, looped(rtsp, name))
    await until(lambda: all(len(bus.of(n)) >= 5 for n in ("short", "long", "hevc", "sound")))
    for s, payload, _ in bus.segments:
        if s.key_seq is None:
            assert frames_of(payload) == s.frames
        assert abs(time.time() - s.start.timestamp()) < LONGEST_S
    seqs = {(await admin.jetstream().get_last_msg("MEDIA", f"media.{n}")).seq for n in ("short", "long")}
    dependents = [s for s in bus.of("long") if s.key_seq]
    assert dependents and all(s.key_seq and s.key_seq < max(seqs) for s in dependents)
    key = await admin.jetstream().get_msg("MEDIA", seq=dependents[0].key_seq)
    found = segments.from_headers(key.headers)
    assert (found.camera, found.epoch, found.key_seq) == ("long", dependents[0].epoch, None)
    assert {s.codec for s in bus.of("hevc")} == {"hevc"}

    await add(admin, "short", looped(rtsp, "hevc"))
    await until(lambda: bus.of("short")[-1].codec == "hevc")
    await registry.remove(admin.jetstream(), "sound")
    await registry.change(admin.jetstream(), "hevc", {"enabled": False})
    await until(lambda: {"sound", "hevc"} <= {e["camera"] for e in bus.events if e["state"] == "offline"})
    reasons = {e["camera"]: e["reason"] for e in bus.events if e["state"] == "offline"}
    assert reasons == {"short": "changed", "sound": "removed", "hevc": "disabled"}
    count = len(bus.of("sound"))
    await registry.change(admin.jetstream(), "hevc", {"enabled": True})
    await until(lambda: bus.states("hevc") == ["online", "offline", "online"])
    assert len(bus.of("sound")) == count
    for name in ("short", "long", "hevc", "sound"):
        assert_gapless(bus.of(name))
    assert ingest.metric("tidegate_ingest_dropped_segments_total") == 0
    assert ingest.metric("tidegate_ingest_cameras_online") == 3
    # Video goes on between the two reads.
    await until(lambda: ingest.metric("tidegate_ingest_segments_total", camera="long") == len(bus.of("long")))

    assert ingest.stop() == 0
    await admin.flush()
    await until(lambda: bus.states("long") == ["online", "offline"])
    assert [e["reason"] for e in bus.events if e["camera"] == "long"][-1] == "stopped"
    assert await leases(admin) == {}


@pytest.mark.slow
async def test_dead_and_lying_cameras_delay_nobody(
    admin: Client, bus: Bus, start: Callable[..., Ingest], rtsp: str
) -> None:
    async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"RTSP/1.0 200 OK\r\nCSeq: 1\r\nX: ")
            while True:  # a header that never ends
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.2)

    async def black_hole(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            await reader.read()

    silent = await asyncio.start_server(black_hole, "127.0.0.1", 0)
    trickling = await asyncio.start_server(trickle, "127.0.0.1", 0)
    ports = [s.sockets[0].getsockname()[1] for s in (silent, trickling)]
    ingest = start()
    await add(admin, "refused", f"rtsp://127.0.0.1:{free_port(0)}/x")
    await add(admin, "silent", f"rtsp://127.0.0.1:{ports[0]}/x")
    await add(admin, "trickling", f"rtsp://127.0.0.1:{ports[1]}/x")
    await add(admin, "nowhere", "rtsp://no-such-host.invalid/x")
    await add(admin, "missing", f"{rtsp}/missing.mp4")
    await add(admin, "flapping", f"{rtsp}/short.mp4?play_count=1")
    await add(admin, "live", looped(rtsp, "short"))
    await until(lambda: len(bus.of("live")) >= 8)
    assert [s.n for s in bus.of("live")] == list(range(len(bus.of("live")))), "in one connection"
    bad = ("refused", "silent", "trickling", "nowhere", "missing")
    await until(lambda: all(bus.states(n) == ["offline"] for n in bad))
    reasons = {e["camera"]: e["reason"] for e in bus.events if e["camera"] in bad}
    assert reasons["refused"].startswith("nothing listens at the camera's address: ")
    assert reasons["missing"].startswith("the camera has no such path: ")
    assert reasons["nowhere"].startswith("the host no-such-host.invalid is not known: ")
    assert reasons["silent"] == reasons["trickling"]
    assert reasons["silent"].startswith("the camera does not answer in time: ")
    await until(lambda: len({s.epoch for s in bus.of("flapping")}) >= 2)
    assert bus.states("flapping")[:3] == ["online", "offline", "online"]
    assert bus.states("live") == ["online"]
    await until(lambda: ingest.metric("tidegate_ingest_reconnects_total", camera="refused", cause="refused") >= 2)
    assert ingest.stop() == 0
    silent.close()
    trickling.close()


@pytest.mark.slow
@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGKILL])
async def test_server_restart_under_load_loses_nothing(
    server: NatsServer, admin: Client, bus: Bus, start: Callable[..., Ingest], rtsp: str, sig: signal.Signals
) -> None:
    ingest = start()
    names = [f"cam{i}" for i in range(8)]
    for name in names:
        await add(admin, name, looped(rtsp, "long" if name > "cam5" else "short"))
    await until(lambda: all(len(bus.of(n)) >= 2 for n in names))
    await server.stop(sig)
    # Longer than a lease: nobody publishes then, but ingest buffers what the cameras send.
    await asyncio.sleep(LEASE_S + 1.5)
    await server.start()
    await until(lambda: admin.is_connected)
    stored: list[Segment] = []
    async with asyncio.timeout(patience_s()):
        while min(sum(s.duration for s in stored if s.camera == name) for name in names) <= LEASE_S + 5:
            await asyncio.sleep(0.5)
            stored = await stored_segments(admin.jetstream())
    assert ingest.stop() == 0
    stored = await stored_segments(admin.jetstream())
    for name in names:
        got = [s for s in stored if s.camera == name]
        assert len({s.epoch for s in got}) == 1, "not reconnected to the camera"
        assert [s.n for s in got] == list(range(len(got))), "in order, without gap or repeat"


@pytest.mark.slow
async def test_buffer_is_bounded_and_drops_are_counted(
    server: NatsServer, admin: Client, start: Callable[..., Ingest], rtsp: str
) -> None:
    ingest = start(INGEST_BUFFER_MB="0.2")
    await add(admin, "cam", looped(rtsp, "long"))
    await until(lambda: ingest.process.poll() is None and "camera online" in ingest.log)
    await server.stop()
    await asyncio.sleep(8)
    await server.start()
    await until(lambda: admin.is_connected)
    await until_live(admin, {"cam"})
    dropped = ingest.metric("tidegate_ingest_dropped_segments_total", camera="cam", cause="buffer_full")
    assert dropped >= 1
    assert ingest.metric("tidegate_ingest_dropped_segments_total") == dropped
    assert ingest.stop() == 0
    stored = await stored_segments(admin.jetstream())
    last = max(s.n for s in stored)
    assert last + 1 - len(stored) == dropped, "each segment is stored or counted"
    sequence = {s.n: s for s in stored}
    for s in stored:
        if s.key_seq:
            assert s.n - 1 in sequence, "no dependent without what is before it"


@pytest.mark.slow
async def test_the_total_buffer_of_cameras_is_bounded(
    server: NatsServer, admin: Client, start: Callable[..., Ingest], rtsp: str
) -> None:
    ingest = start(INGEST_BUFFER_TOTAL_MB="2", INGEST_TIMEOUT_S="60")
    names = [f"cam{i}" for i in range(4)]
    for name in names:
        await add(admin, name, looped(rtsp, "short"))
    await until(lambda: ingest.metric("tidegate_ingest_cameras_online") == len(names))
    await server.stop()
    dropped = "tidegate_ingest_dropped_segments_total"
    await until(lambda: all(ingest.metric(dropped, camera=n, cause="buffers_full") for n in names))
    await server.start()
    await until(lambda: admin.is_connected)
    await until_live(admin, set(names))
    lost = {n: ingest.metric(dropped, camera=n) for n in names}
    assert ingest.stop() == 0
    stored = await stored_segments(admin.jetstream())
    for name in names:
        got = [s.n for s in stored if s.camera == name]
        assert max(got) + 1 - len(got) == lost[name], "each segment is stored or counted"


async def test_credentials_are_in_no_output(admin: Client, bus: Bus, start: Callable[..., Ingest], rtsp: str) -> None:
    ingest = start()
    await add(admin, "live", looped(rtsp, "short").replace("://", f"://admin:{SECRET}@"))
    # A secret in a path or a query cannot be recognised by its name.
    await add(admin, "dead", f"rtsp://admin:{SECRET}@127.0.0.1:{free_port(0)}/t0ken/x?stream=t0ken")
    await add(admin, "lost", f"rtsp://admin:{SECRET}@no-such-host.invalid/x")
    await until(lambda: len(bus.of("live")) >= 2 and bus.states("dead") and bus.states("lost"))
    metrics = ingest.metrics
    assert ingest.stop() == 0
    output = [ingest.log, metrics, json.dumps(bus.events), json.dumps(bus.headers)]
    for text in output:
        assert "s3cr3t" not in text and "admin" not in text.replace("admin@", "") and "t0ken" not in text
    assert "camera offline" in ingest.log
    arguments = Path(f"/proc/{ingest.process.pid}/cmdline")
    assert not arguments.exists() or "s3cr3t" not in arguments.read_text()


async def test_file_cameras_are_published(
    admin: Client, bus: Bus, start: Callable[..., Ingest], tmp_path: Path
) -> None:
    ingest = start()
    once = footage.make(tmp_path / "once only.mp4", frames=250, gop=50, b_frames=2)
    await add(admin, "fast", f"file://{once}".replace(" ", "%20"), realtime=False)
    await add(admin, "paced", f"file://{footage.make(tmp_path / 'p.mp4', frames=50)}", loop=True)
    # Its last segment may come after the event of its end.
    await until(lambda: bus.states("fast") == ["online", "offline"] and sum(s.frames for s in bus.of("fast")) >= 250)
    fast = bus.of("fast")
    assert sum(s.frames for s in fast) == 250
    assert fast[-1].start.timestamp() + fast[-1].duration <= time.time()
    assert bus.events[-1]["reason"] == "the stream has ended" or bus.states("paced") == ["online"]
    await until(lambda: len(bus.of("paced")) >= 5)
    paced = bus.of("paced")
    assert len({s.epoch for s in paced}) == 1, "a loop is one stream"
    starts = [s.start.timestamp() for s in paced]
    apart = [b - a for a, b in itertools.pairwise(starts)]
    # A clock that found its first frames late is corrected once.
    assert sum(not 0.9 < s < 1.1 for s in apart) <= 1 and all(0.5 < s < 1.5 for s in apart)
    assert len(fast) == len(bus.of("fast")), "played once"
    assert ingest.stop() == 0


async def test_a_file_of_another_codec_is_reported_with_the_remedy(
    admin: Client, bus: Bus, start: Callable[..., Ingest], tmp_path: Path
) -> None:
    start()
    await add(admin, "old", footage.make(tmp_path / "old.mp4", codec="mpeg4").as_uri())
    await until(lambda: bus.states("old") == ["offline"])
    assert bus.events[-1]["reason"].startswith("the video is mpeg4: convert it (ffmpeg ")


async def test_missing_buckets_are_an_error_with_a_remedy(
    server: NatsServer, admin: Client, start: Callable[..., Ingest]
) -> None:
    await admin.jetstream().delete_key_value("leases")
    ingest = start()
    assert await asyncio.to_thread(ingest.process.wait, patience_s()) == 1
    assert "bucket leases is missing: run 'tidegate setup'" in ingest.log
