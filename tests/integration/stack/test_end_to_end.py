"""From an RTSP camera to a detections event: real cameras, real server, the services as processes."""

from __future__ import annotations

import asyncio
import datetime as dt
import gzip
import json
import os
import shutil
import threading
import time
from collections.abc import AsyncIterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio
from nats.aio.client import Client

from shared import bus
from shared.client import dlq, registry
from shared.contract import events, names
from shared.contract.cameras import new_camera
from shared.contract.segment import Segment, to_headers
from tests.support import schemas
from tests.support.processes.pipeline import all_detections, running
from tests.support.processes.pipeline import videos as videos
from tests.support.processes.service import settled
from tests.support.waiting import patience_s
from tidegate.demo import clips
from tidegate.demo.bank import Bank
from tidegate.local.server import NatsServer

DEBIAN_SERVER = shutil.which("nats-server", path="/usr/sbin:/usr/bin")


@pytest_asyncio.fixture(
    params=[
        "embedded",
        pytest.param(
            "debian",
            marks=[
                pytest.mark.foreign,
                pytest.mark.skipif(not DEBIAN_SERVER, reason="no second broker is here: apt-get install nats-server"),
            ],
        ),
    ]
)
async def broker(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[NatsServer]:
    executable = DEBIAN_SERVER if request.param == "debian" else None
    async with NatsServer(tmp_path / "nats", executable=executable) as server:
        client = await bus.connect(server.settings("admin"), "admin")
        await server.set_up(client)
        await client.close()
        yield server


@pytest.mark.slow
async def test_a_camera_becomes_events(broker: NatsServer, videos: list[Path], tmp_path: Path) -> None:
    client = await bus.connect(broker.settings("admin"), "admin")
    js = client.jetstream()
    street = next(v for v in videos if "mirrored" not in v.name)
    async with (
        Bank([street], tmp_path) as bank,
        running(broker, "ingest", tmp_path),
        running(broker, "cv", tmp_path, CV_FPS="2"),
    ):
        await registry.put(js, "lobby", *new_camera(bank.urls[0]))
        deadline = time.monotonic() + patience_s()
        while (await js.stream_info("MEDIA")).state.last_seq < 6:
            assert time.monotonic() < deadline, "no segments came"
            await asyncio.sleep(0.2)
        await registry.remove(js, "lobby")
        await asyncio.sleep(1.5)
        await settled(client, "MEDIA", "cv")
        segments = (await js.stream_info("MEDIA")).state.last_seq
        found = await all_detections(client)
        raw = await js.get_msg("MEDIA", 1, direct=True)
    assert sorted(d.segment.seq for d in found) == list(range(1, segments + 1))
    assert any(o.label == "person" for d in found for f in d.frames for o in f.objects)
    assert all(abs((d.start - dt.datetime.now(dt.UTC)).total_seconds()) < 120 for d in found)
    assert (raw.headers or {})["traceparent"].startswith("00-")
    for detection in found:
        schemas.of_events().validate(json.loads(events.encode(detection)))
    status = await registry.last_status(js, "lobby")
    assert status is not None and status.state == "offline"
    await client.close()


@pytest.mark.slow
async def test_bad_segments_harm_nobody(server: NatsServer, admin: Client, videos: list[Path], tmp_path: Path) -> None:
    """Random bytes, half a segment, lying headers, no bytes, 7.9 MB: each processed or dead-lettered with a reason."""
    js = admin.jetstream()
    good = clips.pieces(videos[0], "lobby")[0]
    head = to_headers(good.segment)
    half = good.payload[: len(good.payload) // 2]
    cases = {
        "random bytes": (os.urandom(50_000), head),
        "truncated": (half, head),
        "lying codec": (good.payload, head | {"Codec": "hevc", "Frames": "3", "Width": "16000"}),
        "lying camera": (good.payload, head | {"Camera": "other"}),
        "lying key": (good.payload, head | {"Key-Seq": "999999", "Segment": "5"}),
        "no headers": (good.payload, {}),
        "nonsense headers": (good.payload, head | {"Frames": "many", "Start": "yesterday"}),
        "empty": (b"", head),
        # Of another camera: a camera's second segment in a row with one fault is counted, not dead-lettered.
        "large": (os.urandom(7_900_000), head | {"Camera": "yard"}),
    }
    seqs = {}
    for n, (name, (payload, headers)) in enumerate(cases.items()):
        subject = "media.yard" if name == "large" else "media.lobby"
        seqs[name] = (await js.publish(subject, payload, headers=headers | {"Nats-Msg-Id": f"bad/{n}"})).seq
    last = (await js.publish("media.lobby", good.payload, headers=head)).seq
    async with running(server, "cv", tmp_path) as pool:
        await settled(admin, "MEDIA", "cv")
        assert pool.restarts == 0, "a bad segment ended the worker"
    answered = {d.segment.seq for d in await all_detections(admin)}
    dead_lettered = {x.stream_seq: x.reason async for x in dlq.entries(admin)}
    assert last in answered
    assert answered.isdisjoint(dead_lettered)
    assert answered | set(dead_lettered) == {*seqs.values(), last}
    assert all(len(reason) > 10 for reason in dead_lettered.values())
    for name in ("random bytes", "lying camera", "lying key", "no headers", "nonsense headers", "empty", "large"):
        assert seqs[name] in dead_lettered, name
    assert "Camera" in dead_lettered[seqs["lying camera"]]
    assert "header Start" in dead_lettered[seqs["nonsense headers"]]


@pytest.mark.slow
async def test_dependent_segments_are_decoded_with_their_gop(
    server: NatsServer, admin: Client, videos: list[Path], tmp_path: Path
) -> None:
    """Segments of a third of their GOP: each has its event, with its own frames."""
    js = admin.jetstream()
    keys: dict[str, int] = {}
    pieces = clips.pieces(videos[0], "lobby", segment_s=0.34)[:9]
    assert any(p.dependent for p in pieces)
    for piece in pieces:
        segment: Segment = piece.segment
        if piece.dependent:
            segment = msgspec.structs.replace(segment, key_seq=keys[piece.gop])
        ack = await js.publish(names.media("lobby"), piece.payload, headers=to_headers(segment))
        keys.setdefault(piece.gop, ack.seq)
        # A replay for another service, and a late message of an ingest without its lease.
        stray = to_headers(msgspec.structs.replace(segment, epoch="older", key_seq=None))
        for n, headers in enumerate((stray, stray | {"Replay-For": "embed", "Replay-Of": "MEDIA/1"})):
            mark = {"Nats-Msg-Id": f"stray/{segment.n}/{n}", "Replay-For": "embed"}
            await js.publish(names.media("lobby"), b"stray", headers=headers | mark)
    async with running(server, "cv", tmp_path):
        await settled(admin, "MEDIA", "cv")
    found = await all_detections(admin)
    assert len(found) == len(pieces)
    assert [x async for x in dlq.entries(admin)] == []
    assert all(d.frames for d in found)


@pytest.mark.slow
async def test_spans_reach_a_collector(server: NatsServer, admin: Client, videos: list[Path], tmp_path: Path) -> None:
    """One trace from the segment's header to the worker's span, exported by OTLP when the worker drains."""
    piece = clips.pieces(videos[0], "lobby")[0]
    trace = "0af7651916cd43dd8448eb211c80319c"
    header = {"traceparent": f"00-{trace}-b7ad6b7169203331-01"}
    await admin.jetstream().publish("media.lobby", piece.payload, headers=to_headers(piece.segment) | header)
    bodies: list[bytes] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            bodies.append(gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body)
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    collector = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    threading.Thread(target=collector.serve_forever, daemon=True).start()
    endpoint = f"http://127.0.0.1:{collector.server_port}"
    async with running(server, "cv", tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT=endpoint):
        await settled(admin, "MEDIA", "cv")
    collector.shutdown()
    exported = b"".join(bodies)
    assert bytes.fromhex(trace) in exported
    assert b"tidegate-cv" in exported
    raw = await admin.jetstream().get_msg("EVENTS", 1, direct=True)
    assert (raw.headers or {})["traceparent"].split("-")[1] == trace
