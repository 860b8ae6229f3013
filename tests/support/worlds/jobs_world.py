"""Video in MEDIA, jobs in VLM, and their results: for the tests of vlm."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import json
from collections.abc import AsyncIterator
from functools import cache
from typing import Any

import msgspec
from nats.aio.client import Client

import services.vlm.__main__ as vlm
from services.ingest.cutting.piece import Piece
from services.vlm import app
from services.vlm.settings import VlmSettings
from shared.contract import names
from shared.contract.events import Answer, Caption, Summary, Verdict, VlmResult
from shared.contract.segment import to_headers
from shared.runtime.telemetry import Health
from tests.support import schemas
from tests.support.processes.service import serving
from tests.support.waiting import patience_s
from tidegate.demo import clips, footage
from tidegate.local.server import NatsServer

KINDS: dict[str, type[VlmResult]] = {k.kind: k for k in (Answer, Caption, Summary, Verdict)}


@cache
def pieces() -> list[Piece]:
    """Segments of a second each, of real footage."""
    video = footage.embedded(footage.cache() / f"footage-{footage.VERSION}")[0]
    return [p for p in clips.pieces(video, "lobby") if not p.dependent]


async def film(
    client: Client,
    count: int,
    *,
    camera: str = "lobby",
    start: dt.datetime | None = None,
    epoch: str = "e",
    first: int = 0,
) -> list[int]:
    """Store `count` segments, of which the last ends now, or the first begins at `start`; their sequences."""
    begin = start or dt.datetime.now(dt.UTC) - dt.timedelta(seconds=count)
    seqs = []
    for n in range(count):
        piece = pieces()[n % len(pieces())]
        head = msgspec.structs.replace(
            piece.segment, camera=camera, epoch=epoch, n=first + n, start=begin + dt.timedelta(seconds=n), duration=1.0
        )
        seqs.append(
            (await client.jetstream().publish(names.media(camera), piece.payload, headers=to_headers(head))).seq
        )
    return seqs


@contextlib.asynccontextmanager
async def worker(server: NatsServer, url: str, *, at: str = "", **settings: Any) -> AsyncIterator[Health]:
    """The worker as its `__main__` runs it, as the identity `vlm`, ready; drained at the end. at: where the server is,
    if not at its own URL.
    """
    given = {"vlm_frames": 4, "vlm_size": 320, "vlm_max_tokens": 1024, "vlm_outage_timeout_s": 1.0, **settings}
    async with serving(server, "vlm", vlm.run, VlmSettings(vlm_url=url, **given), at=at) as health:
        yield health


@contextlib.asynccontextmanager
async def fronting(server: NatsServer, **settings: Any) -> AsyncIterator[Health]:
    """The front, as the identity `vlm-front`."""
    async with serving(server, "vlm-front", app.run_front, VlmSettings(vlm_mode="front", **settings)) as health:
        yield health


async def stored_results(client: Client) -> list[tuple[str, VlmResult]]:
    """(ce-id, event) of all that vlm published, in the order of EVENTS; each matches its schema."""
    js = client.jetstream()
    found = []
    for seq in range(1, (await js.stream_info("EVENTS")).state.last_seq + 1):
        raw = await js.get_msg("EVENTS", seq, direct=True)
        kind = KINDS.get((raw.subject or "").split(".")[1])
        if kind:
            schemas.of_events().validate(json.loads(raw.data or b""))
            found.append(((raw.headers or {})["ce-id"], msgspec.json.decode(raw.data or b"", type=kind)))
    return found


async def settled(client: Client) -> None:
    """Wait until no job is left: a work queue deletes acknowledged ones. Raises TimeoutError after a long
    time without progress.
    """
    left = None
    while left != 0:
        async with asyncio.timeout(patience_s()):
            while (now := sum([await waiting(client, stream) for stream, _ in names.VLM_WORK])) == left:
                await asyncio.sleep(0.05)
        left = now


async def waiting(client: Client, stream: str) -> int:
    """The number of jobs in a stream."""
    return (await client.jetstream().stream_info(stream)).state.messages


async def ask(client: Client, timeout_s: float = 60.0, **query: Any) -> Any:
    """The answer on svc.ask, as JSON, or its error's headers."""
    message = await client.request(names.ASK, json.dumps(query).encode(), timeout=timeout_s)
    return json.loads(message.data) if message.data else dict(message.headers or {})
