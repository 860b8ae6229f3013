"""The gate in real workers on a real server: the segments that get inference at 1, 4 and 16 replicas, and the misses.

Usage:
    python -m bench.static_scene.workers --minutes 5        # a minute and a half for each row, without footage

Segments come at four times the camera's rate, so results and shared scenes are four times as late as in its time.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec
import numpy as np
from nats.aio.client import Client
from rich.console import Console
from rich.table import Table

from bench import world
from bench.static_scene import dashes, synthetic
from bench.static_scene.dashes import SCENES, Dash, Scene
from services.cv.app import attach
from services.cv.detectors import Detection, detections
from services.cv.models import Models
from services.cv.service import CvService
from services.cv.settings import CvSettings
from services.ingest.cutting.piece import Piece
from shared import bus
from shared.contract import events, names
from shared.contract.events import Detections, DetectionsRevision
from shared.contract.segment import Segment, to_headers
from shared.runtime.telemetry import Health
from shared.static_scene.picture import SHAPE, SIZE
from shared.video.decode import Image
from shared.worker import Worker
from tidegate.local.server import NatsServer

E = TypeVar("E", bound=Detections)

REPLICAS = (1, 4, 16)
_SPEED = 4.0
# Somebody crosses the picture once in this many seconds, after the first calm ones, for some seconds.
_CALM_S, _EVERY_S, _STAY_S = 30, 40, 6.0
# A block belongs to somebody if it is this much brighter than the scene; somebody has at least that many.
_BRIGHTER, _BLOCKS = 20.0, 8


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """work: share of segments with inference, backfills included. seen: of all visits. missed: segments of visits whose
    event has nobody; revised: those that still have nobody after revisions.
    """

    work: float
    seen: int
    visits: int
    missed: int
    revised: int


class _Finder:
    """A detector that knows the scene: what is brighter than it is a person."""

    name = "finder"
    labels: tuple[str, ...] = ("person",)
    size: tuple[int, int] | None = (SIZE[0] * 4, SIZE[1] * 4)
    within: tuple[int, int] | None = None

    def __init__(self, scene: Scene) -> None:
        self._empty = _blocks(synthetic.backdrop(scene.case)(0))

    def detect(self, images: Sequence[Image]) -> list[list[Detection]]:
        return [self._found(_blocks(image.mean(axis=2))) for image in images]

    def _found(self, blocks: np.ndarray) -> list[Detection]:
        rows, columns = np.nonzero(blocks - self._empty > _BRIGHTER)
        if len(rows) < _BLOCKS:
            return []
        width, height = SIZE
        box = columns.min() / width, rows.min() / height, (columns.max() + 1) / width, (rows.max() + 1) / height
        return detections(self.labels, [0], [0.9], [box])


def _blocks(picture: np.ndarray) -> np.ndarray:
    rows, columns = SHAPE
    height, width = picture.shape
    return np.asarray(picture.reshape(rows, height // rows, columns, width // columns).mean(axis=(1, 3)))


async def measure(scene: Scene, pieces: Sequence[Piece], visits: Sequence[Dash], replicas: int) -> Result:
    """Return what replicas make of a film on a server of their own."""
    async with world.serving() as (server, admin, _), contextlib.AsyncExitStack() as stack:
        for n in range(replicas):
            await stack.enter_async_context(_worker(server, scene, f"cv-{n}"))
        await _send(admin, pieces)
        await world.acknowledged(admin.jetstream(), names.MEDIA, "cv")
        # Backfills are the spare time's.
        await asyncio.sleep(5)
        live, later = await _events(admin, Detections), await _events(admin, DetectionsRevision)
    begin = pieces[0].segment.start
    revised = {event.segment.n: event for event in later}
    of_visit = [[e for e in live if _is_in(visit, (e.start - begin).total_seconds())] for visit in visits]
    return Result(
        work=(sum(event.unchanged is None for event in live) + len(later)) / len(live),
        seen=sum(any(map(_has_somebody, of)) for of in of_visit),
        visits=len(visits),
        missed=sum(not _has_somebody(event) for of in of_visit for event in of),
        revised=sum(not _has_somebody(revised.get(event.segment.n, event)) for of in of_visit for event in of),
    )


@contextlib.asynccontextmanager
async def _worker(server: NatsServer, scene: Scene, replica: str) -> AsyncIterator[None]:
    client = await bus.connect(server.settings("cv"), "cv")
    settings = CvSettings(cv_fps=5.0, cv_batch_size=1, replica=replica)
    service = attach(CvService(client, Models(_Finder(scene)), settings), client, settings)
    worker = Worker(
        client,
        service,
        # One segment at a time, so that all replicas get some.
        msgspec.structs.replace(settings.worker(), hold=1),
        Health(),
        consumers=[(names.MEDIA, "cv")],
        backfill=names.backfilling("cv"),
        extensions=service.extensions,
    )
    stop = asyncio.Event()
    running = asyncio.create_task(worker.run(stop))
    try:
        yield
    finally:
        stop.set()
        await running
        await client.close()


async def _send(admin: Client, pieces: Sequence[Piece]) -> None:
    """Publish the segments at `_SPEED`."""
    clock = asyncio.get_running_loop().time
    began = clock()
    for n, piece in enumerate(pieces):
        await asyncio.sleep(max(0.0, began + n / _SPEED - clock()))
        await admin.jetstream().publish(names.media("bench"), piece.payload, headers=to_headers(_head(piece)))


def _head(piece: Piece) -> Segment:
    return msgspec.structs.replace(piece.segment, camera="bench")


async def _events(admin: Client, kind: type[E]) -> list[E]:
    """Return the stored events of a kind, by segment."""
    js = admin.jetstream()
    state = (await js.stream_info(names.EVENTS)).state
    stored = [await js.get_msg(names.EVENTS, seq, direct=True) for seq in range(state.first_seq, state.last_seq + 1)]
    wanted = names.event(kind.kind, "bench")
    found = [events.decode(m.data or b"", kind, wanted) for m in stored if m.subject == wanted]
    return sorted(found, key=lambda event: event.segment.n)


def _is_in(visit: Dash, start: float) -> bool:
    """Whether all of the visitor is in the picture for the whole segment. start: seconds from the film's begin."""
    edge = visit.duration / 10
    return visit.begin + edge <= start and start + 1 <= visit.begin + visit.duration - edge


def _has_somebody(event: Detections) -> bool:
    return any(frame.objects for frame in event.frames)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--scenes", nargs="*", choices=list(SCENES), default=list(SCENES)[:4])
    args = parser.parse_args()
    seconds = round(args.minutes * 60)
    visits = [Dash(begin + 0.3, _STAY_S) for begin in range(_CALM_S, seconds - _EVERY_S // 2, _EVERY_S)]
    table = Table("scene", "replicas", "work", "visits seen", "segments with nobody", "after revisions")
    for name in args.scenes:
        scene = SCENES[name]
        with tempfile.TemporaryDirectory() as folder:
            pieces = dashes.encode(scene, visits, seconds, Path(folder) / "film.mp4")
        for replicas in REPLICAS:
            r = await measure(scene, pieces, visits, replicas)
            table.add_row(
                name, str(replicas), f"{r.work:.2f}", f"{r.seen} of {r.visits}", str(r.missed), str(r.revised)
            )
    Console(width=120).print(table)


if __name__ == "__main__":
    asyncio.run(main())
