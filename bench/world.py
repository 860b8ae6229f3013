"""The environment of benchmarks: their own server, real footage in its stream, and a worker to measure."""

from __future__ import annotations

import asyncio
import datetime as dt
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
from nats.aio.client import Client
from nats.js import JetStreamContext

from services.ingest.cutting.piece import Piece
from shared import bus
from shared.contract import names
from shared.contract.segment import to_headers
from shared.runtime.tasks import supervise
from tidegate.demo import clips, footage
from tidegate.local.server import NatsServer


@asynccontextmanager
async def serving() -> AsyncIterator[tuple[NatsServer, Client, Path]]:
    """Yield a server with all streams, an admin connection, and a temporary folder."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with NatsServer(folder / "nats") as server:
            admin = await bus.connect(server.settings("admin"), "admin")
            try:
                await server.set_up(admin)
                yield server, admin, folder
            finally:
                await admin.close()


def pieces() -> list[Piece]:
    """Return all segments of the embedded footage that can be decoded independently."""
    videos = footage.embedded()
    return [p for v in videos for p in clips.pieces(v, "bench") if not p.dependent]


async def publish(js: JetStreamContext, piece: Piece, *, epoch: str, n: int, camera: str = "bench") -> int:
    """Publish a segment whose start is now. Return its sequence in MEDIA."""
    head = msgspec.structs.replace(piece.segment, camera=camera, epoch=epoch, n=n, start=dt.datetime.now(dt.UTC))
    return (await js.publish(names.media(camera), piece.payload, headers=to_headers(head))).seq


async def fill(js: JetStreamContext, pieces: Iterable[Piece], epoch: str) -> list[int]:
    """Publish the segments in order. Return their sequences."""
    return [await publish(js, piece, epoch=epoch, n=n) for n, piece in enumerate(pieces)]


async def acknowledged(js: JetStreamContext, stream: str, consumer: str) -> None:
    """Wait until no message is pending or in flight."""
    while (info := await js.consumer_info(stream, consumer)).num_pending or info.num_ack_pending:
        await asyncio.sleep(0.05)


async def seconds_at_work(
    run: Callable[[asyncio.Event], Coroutine[Any, Any, None]], js: JetStreamContext, stream: str, consumer: str
) -> float:
    """Run a worker's loop from its first pull to its last acknowledgement. Return the seconds, or raise its error."""
    stop = asyncio.Event()
    started = time.perf_counter()
    running = asyncio.create_task(run(stop))
    await supervise(running, acknowledged(js, stream, consumer))
    seconds = time.perf_counter() - started
    stop.set()
    await running
    return seconds
