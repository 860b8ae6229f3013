"""A recorder as a process of its own, over a real MEDIA, and its recordings. Fixtures are imported by name."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio
from nats.aio.client import Client
from nats.js.errors import KeyNotFoundError

from services.ingest.cutting.piece import Piece
from shared.contract import names
from shared.contract.segment import to_headers
from shared.recordings import ledger as ledgers
from shared.recordings.ledger import Ledger
from shared.recordings.library import Library
from shared.recordings.policy import camera_key
from shared.recordings.records import Hole, Recorded
from shared.recordings.stores.folder import Folder
from tests.support.processes.service_process import ServiceProcess
from tests.support.video import footage
from tests.support.waiting import patience_s
from tidegate.demo import clips as cut
from tidegate.local.server import NatsServer

DAY = dt.timedelta(days=1)
# Yesterday: the default policy deletes what is older than a week.
BEGIN = (dt.datetime.now(dt.UTC) - DAY).replace(hour=9, minute=58, second=30, microsecond=0)


def s(seconds: float) -> dt.timedelta:
    return dt.timedelta(seconds=seconds)


@pytest.fixture(scope="session")
def second(tmp_path_factory: pytest.TempPathFactory) -> list[Piece]:
    """Twelve segments of a second, each a group of pictures."""
    return cut.pieces(footage.make(tmp_path_factory.mktemp("video") / "s.mp4", frames=300), "cam")


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> list[Piece]:
    """The same in a quarter of the size."""
    return cut.pieces(footage.make(tmp_path_factory.mktemp("video") / "q.mp4", frames=300, size=(160, 120)), "cam")


def filmed(
    second: Sequence[Piece], numbers: Sequence[int], *, epoch: str = "e1", begin: dt.datetime = BEGIN
) -> list[Piece]:
    """Segments of a second, each its number of seconds after `begin`; the first has number 0 in its epoch."""
    row = []
    for n in numbers:
        piece = second[n % len(second)]
        start = begin + dt.timedelta(seconds=n)
        segment = msgspec.structs.replace(piece.segment, n=n, epoch=epoch, start=start, duration=1.0)
        row.append(piece._replace(segment=segment))
    return row


async def publish(client: Client, pieces: Sequence[Piece], camera: str = "cam", *, main: bool = False) -> int:
    """Publish segments; return the last one's sequence. main: as the main stream of a camera with a substream."""
    js = client.jetstream()
    subject, seq = names.streams_of(camera)[main], 0
    for piece in pieces:
        segment = msgspec.structs.replace(piece.segment, camera=camera)
        seq = (await js.publish(subject, piece.payload, headers=to_headers(segment))).seq
    return seq


class World:
    """A server, the store of its recordings, and recorders."""

    def __init__(self, server: NatsServer, admin: Client, folder: Path) -> None:
        self.server = server
        self.admin = admin
        self.folder = folder
        self.keep_in(folder / "recordings")

    def keep_in(self, store: Path) -> None:
        self.store = store
        self.library = Library(Folder(store))

    def recorder(self, **env: str) -> ServiceProcess:
        (self.folder / "logs").mkdir(exist_ok=True)
        settings = {"RECORDER_STORE": str(self.store), "RECORDER_IDLE_S": "5", "LEASE_S": "2"}
        return ServiceProcess("recorder", self.server.environment("recorder"), self.folder / "logs", **settings | env)

    async def ledger(self, camera: str = "cam") -> Ledger:
        kv = await self.admin.jetstream().key_value(names.RECORDER)
        try:
            return ledgers.decode((await kv.get(camera_key(camera))).value or b"")
        except KeyNotFoundError:
            return Ledger()

    async def recorded(self, camera: str = "cam") -> tuple[list[Recorded], list[Hole]]:
        running = ledgers.open_hour(camera, await self.ledger(camera))
        return await self.library.between(camera, BEGIN - 2 * DAY, BEGIN + 2 * DAY, running)

    async def until_recorded(self, seq: int, camera: str = "cam") -> tuple[list[Recorded], list[Hole]]:
        """Wait until the segment with this sequence is processed."""
        async with asyncio.timeout(patience_s()):
            while (await self.ledger(camera)).position <= seq:
                await asyncio.sleep(0.1)
        return await self.recorded(camera)


@pytest_asyncio.fixture
async def world(server: NatsServer, admin: Client, tmp_path: Path) -> AsyncIterator[World]:
    yield World(server, admin, tmp_path)


def seconds_of(files: Sequence[Recorded]) -> Counter[dt.datetime]:
    """The number of files with each second."""
    return Counter(group.start for file in files for group in file.groups)


async def tidegate(world: World, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **world.server.environment("admin")}
    command = [sys.executable, "-m", "tidegate", *arguments]
    return await asyncio.to_thread(
        subprocess.run, command, env=environment, capture_output=True, text=True, timeout=120
    )
