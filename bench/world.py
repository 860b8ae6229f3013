"""What benchmarks run in: a server of their own, real footage in its stream, and a worker that is watched at it."""

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

from services.ingest.segmenter import Piece
from shared import bus
from shared.contract import names
from shared.contract.segment import to_headers
from shared.runtime.tasks import supervise
from tidegate.demo import clips, footage
from tidegate.local.server import NatsServer


@asynccontextmanager
async def serving() -> AsyncIterator[tuple[NatsServer, Client, Path]]:
    """A server with all streams, a connection that may do everything, and a folder that goes with the block."""
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
    """All segments of the embedded footage that can be decoded by themselves."""
    videos = footage.embedded(footage.cache() / f"footage-{footage.VERSION}")
    return [p for v in videos for p in clips.pieces(v, "bench") if not p.dependent]


async def publish(js: JetStreamContext, piece: Piece, *, epoch: str, n: int, camera: str = "bench") -> int:
    """As if it was filmed now: its start is its arrival. Gives its sequence in MEDIA."""
    head = msgspec.structs.replace(piece.segment, camera=camera, epoch=epoch, n=n, start=dt.datetime.now(dt.UTC))
    return (await js.publish(names.media(camera), piece.payload, headers=to_headers(head))).seq


async def fill(js: JetStreamContext, pieces: Iterable[Piece], epoch: str) -> list[int]:
    """Publish them one after the other; their sequences."""
    return [await publish(js, piece, epoch=epoch, n=n) for n, piece in enumerate(pieces)]


async def acknowledged(js: JetStreamContext, stream: str, consumer: str) -> None:
    """Wait until nothing is pending and nothing in flight."""
    while (info := await js.consumer_info(stream, consumer)).num_pending or info.num_ack_pending:
        await asyncio.sleep(0.05)


async def seconds_at_work(
    run: Callable[[asyncio.Event], Coroutine[Any, Any, None]], js: JetStreamContext, stream: str, consumer: str
) -> float:
    """From the first pull of a worker's loop to its last acknowledgement. The loop is ended. Raises its error."""
    stop = asyncio.Event()
    started = time.perf_counter()
    running = asyncio.create_task(run(stop))
    await supervise(running, acknowledged(js, stream, consumer))
    seconds = time.perf_counter() - started
    stop.set()
    await running
    return seconds
