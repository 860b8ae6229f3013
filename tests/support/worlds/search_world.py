"""The search service in a test: detections and embeddings in, moments out."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import lancedb
import msgspec
import numpy as np
from nats.aio.client import Client

from services.search.__main__ import run
from services.search.settings import SearchSettings
from shared import bus
from shared.bus import requests
from shared.contract import events, names
from shared.contract.events import DetectedObject, Detections, Embeddings, Frame, SegmentRef, Timing, Vector
from shared.contract.questions.search import Found
from shared.models import vectors
from shared.models.vectors import Encoded
from shared.runtime.errors import Refusal
from shared.runtime.telemetry import Health
from tests.support.processes import service
from tests.support.processes.service import serving
from tidegate.local.server import NatsServer

BEGAN = dt.datetime(2026, 11, 24, 13, 0, tzinfo=dt.UTC)
TIMING = Timing(queued_ms=0, decode_ms=0, infer_ms=0)
DIMENSION = 16
EVER = 1e9


def at(second: float) -> dt.datetime:
    return BEGAN + dt.timedelta(seconds=second)


def scene(n: int, wobble: int = 0) -> np.ndarray:
    """A vector of scene `n`; those of one scene have a cosine of 0.9 and more, those of two of 0.5 and less."""
    chance = np.random.default_rng(n)
    vector = chance.normal(size=DIMENSION) + 0.05 * np.random.default_rng([n, wobble]).normal(size=DIMENSION)
    return vectors.normalise(vector.astype(np.float32))


async def say(client: Client, event: events.Event, id: str) -> None:
    headers = events.headers(event, id=id, source="/test")
    await client.jetstream().publish(events.subject(event), events.encode(event), headers=headers)


async def embedded(
    client: Client, camera: str, second: int, vector: np.ndarray, *, model: str = "m", seq: int | None = None
) -> str:
    seq = 1000 + second if seq is None else seq
    event = Embeddings(
        camera=camera,
        segment=SegmentRef(stream="MEDIA", seq=seq, epoch="e", n=second),
        start=at(second),
        duration=1.0,
        model=model,
        dimension=vector.size,
        vectors=[Vector(time=at(second), vector=vectors.pack(vector))],
        timing=TIMING,
    )
    id = f"embed/{model}/MEDIA/{camera}{seq}"
    await say(client, event, id)
    return id


async def detected(client: Client, camera: str, second: int, found: Sequence[tuple[str, float]]) -> str:
    objects = [DetectedObject(label=label, score=score, box=(0.1, 0.1, 0.5, 0.5)) for label, score in found]
    event = Detections(
        camera=camera,
        segment=SegmentRef(stream="MEDIA", seq=1000 + second, epoch="e", n=second),
        start=at(second),
        duration=1.0,
        model="ssd",
        frames=[Frame(time=at(second), objects=objects)],
        timing=TIMING,
    )
    id = f"cv/ssd/MEDIA/{camera}{second}"
    await say(client, event, id)
    return id


def rows(folder: Path) -> int:
    """Count the index's rows without its lock. The list may have a table that is being created or dropped."""
    db, found = lancedb.connect(folder), 0
    for name in db.list_tables(limit=1000).tables:
        if name not in ("about", "tried"):
            with contextlib.suppress(ValueError):
                found += db.open_table(name).count_rows()
    return found


@contextlib.asynccontextmanager
async def searching(server: NatsServer, folder: Path, **settings: object) -> AsyncIterator[Health]:
    """The service as the identity `search`, with its few rights. The dates are fixed, so nothing is dropped by age."""
    own = {"search_index": str(folder), "search_batch_wait_ms": 20.0, "search_max_age_s": EVER, **settings}
    async with serving(server, "search", run, msgspec.convert(own, SearchSettings)) as health:
        yield health


async def settled(admin: Client) -> None:
    await service.settled(admin, names.EVENTS, "search")


async def find(client: Client, **query: object) -> Found:
    answer = await requests.ask(client, names.FIND, msgspec.json.encode(query), timeout_s=20)
    return msgspec.json.decode(answer.data, type=Found)


@contextlib.asynccontextmanager
async def encoder(server: NatsServer, meaning: dict[str, np.ndarray], model: str = "m") -> AsyncIterator[None]:
    """Answers in place of embed, because no CLIP weights are available: each text has a configured vector."""
    client = await bus.connect(server.settings("embed"), "embed")

    async def text(payload: bytes) -> tuple[bytes, dict[str, str]]:
        vector = meaning[msgspec.json.decode(payload)["text"]]
        encoded = Encoded(model=model, dimension=vector.size, vector=vectors.pack(vector))
        return msgspec.json.encode(encoded), {}

    async def image(payload: bytes) -> tuple[bytes, dict[str, str]]:
        raise Refusal(400, "not a picture")

    service = await requests.serve(
        client, "tidegate-embed", "stands in", {"text": (names.EMBED_TEXT, text), "image": (names.EMBED_IMAGE, image)}
    )
    yield
    await service.stop()
    await client.close()
