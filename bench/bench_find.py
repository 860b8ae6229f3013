"""Whether a picture finds its own scene: real footage through ingest, embed and search, queried by its pictures.

Each video is a camera. The index has the keyframes, one a second; queries are JPEG pictures from anywhere in the files.
"""

from __future__ import annotations

import asyncio
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import av
import msgspec
import numpy as np
from nats.aio.client import Client
from rich.console import Console
from rich.table import Table

from bench import record
from shared.bus import requests
from shared.client import registry
from shared.contract import cameras, names
from shared.contract.questions.search import Found, Query
from shared.video.pictures import jpeg
from tidegate.demo import footage
from tidegate.demo.bank import Bank
from tidegate.local.scaling.scaled_objects import scaled_object
from tidegate.local.stack import Stack, steady

QUERIES = 50
RECORD_S = 20.0
K = 5
TARGET = 1.0


class QueryResult(NamedTuple):
    """The result of a query. rank: of the first moment of its own camera, from 1; None if not among the first K."""

    camera: str
    rank: int | None
    similarity: float
    other: float
    seconds: float


def files(folder: Path) -> list[Path]:
    """Return six different scenes: five real ones, and the beginning of an animated film."""
    found = [p for p in footage.embedded() if "mirrored" not in p.stem]
    bunny = folder / "bunny.mp4"
    footage.serveable(footage._clips() / "bigbuckbunny.mp4", bunny)
    return [*found, bunny]


def pictures(path: Path, count: int, chance: random.Random) -> list[bytes]:
    """Return JPEGs of `count` random frames of the file."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    chosen = [chance.choice(frames) for _ in range(count)]
    return [jpeg(np.asarray(f.to_ndarray(format="rgb24"), np.uint8)) for f in chosen]


async def film(stack: Stack, bank: Bank, videos: list[Path]) -> None:
    """Enable the cameras for RECORD_S; then wait until the index has everything."""
    js = stack.admin.jetstream()
    for path, url in zip(videos, bank.urls, strict=True):
        entry, secret = cameras.new_camera(url)
        await registry.put(js, path.stem, entry, secret)
    await asyncio.sleep(RECORD_S)
    for path in videos:
        await registry.remove(js, path.stem)
    async with asyncio.timeout(120):
        for stream, consumer in ((names.MEDIA, "embed"), (names.EVENTS, "search")):
            while (i := await js.consumer_info(stream, consumer)).num_pending or i.num_ack_pending:
                await asyncio.sleep(0.2)


async def ask(client: Client, camera: str, picture: bytes) -> QueryResult:
    started = time.perf_counter()
    query = msgspec.json.encode(Query(image=picture, k=K))
    answer = await requests.ask(client, names.FIND, query, timeout_s=20)
    seconds = time.perf_counter() - started
    moments = msgspec.json.decode(answer.data, type=Found).moments
    own = [n for n, m in enumerate(moments, 1) if m.camera == camera]
    best, other = (
        max((m.similarity or 0 for m in moments if (m.camera == camera) is is_own), default=0.0)
        for is_own in (True, False)
    )
    return QueryResult(camera, own[0] if own else None, best, other, seconds)


async def main(out: Console) -> bool:
    chance = random.Random(4)
    with tempfile.TemporaryDirectory() as folder:
        videos = files(Path(folder))
        async with Bank(videos, Path(folder) / "bank") as bank:
            scaled = {"embed": scaled_object("embed")}
            async with Stack(Path(folder) / "data", scaled, steady=steady("--search"), port=0) as stack:
                await film(stack, bank, videos)
                results: list[QueryResult] = []
                for n in range(QUERIES):
                    path = videos[n % len(videos)]
                    results.append(await ask(stack.admin, path.stem, pictures(path, 1, chance)[0]))
    table = Table("scene", "asked", "recall@1", f"recall@{K}", "similarity, its own", "the best other")
    for camera in [p.stem for p in videos]:
        of = [a for a in results if a.camera == camera]
        table.add_row(
            camera,
            str(len(of)),
            f"{sum(a.rank == 1 for a in of) / len(of):.2f}",
            f"{sum(a.rank is not None for a in of) / len(of):.2f}",
            f"{min(a.similarity for a in of):.3f} or more",
            f"{max(a.other for a in of):.3f} or less",
        )
    first, among = (
        sum(of) / len(results) for of in ([a.rank == 1 for a in results], [a.rank is not None for a in results])
    )
    table.add_row("all", str(len(results)), f"{first:.2f}", f"{among:.2f}", "", "")
    out.print(table)
    times = sorted(a.seconds for a in results)
    out.print(f"a query, encoding included: p50 {times[len(times) // 2] * 1e3:.0f} ms, worst {times[-1] * 1e3:.0f} ms")
    record.write(
        "find",
        higher={"recall@1": first, f"recall@{K}": among},
        figures={"a query, p50 ms": times[len(times) // 2] * 1e3},
    )
    return first >= TARGET


if __name__ == "__main__":
    sys.exit(0 if asyncio.run(main(Console())) else 1)
