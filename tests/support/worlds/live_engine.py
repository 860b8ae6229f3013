"""Runs over recordings by replicas of cv."""

from __future__ import annotations

import asyncio
import os
import subprocess
from pathlib import Path

import pytest
from nats.aio.client import Client

from services.ingest.cutting.piece import Piece
from shared.bus.requests import ask
from shared.contract import names
from shared.contract.work import stats
from shared.contract.work.stats import WorkerStats
from shared.runtime.errors import TidegateError
from tests.support.processes.command_line import COMMAND
from tests.support.processes.service_process import ServiceProcess
from tests.support.waiting import patience_s
from tests.support.worlds.archive_world import planned
from tidegate.archive.engines.live_engine import LiveEngine
from tidegate.archive.frames.probe import ProbeResult
from tidegate.archive.job import Job
from tidegate.archive.job import Piece as Part
from tidegate.archive.results.report import write_report
from tidegate.archive.run import Run
from tidegate.archive.sync_store import SyncStore
from tidegate.demo import clips, footage
from tidegate.local.server import NatsServer

MODEL = "ssd_mobilenet_v2_coco"


class World:
    """A server, replicas of cv, and a run that they process. messages: the output for the user of the run."""

    def __init__(self, server: NatsServer, folder: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.messages: list[str] = []
        self.output = folder / "out"
        self._server, self._folder, self._store = server, folder, store
        self._monkeypatch = monkeypatch

    async def cv(self) -> ServiceProcess:
        """Start one more replica."""
        folder = self._folder / "cv"
        folder.mkdir(exist_ok=True)
        replica = f"cv-{len(list(folder.iterdir()))}"
        settings = {"REPLICA": replica, "CV_INFER_THREADS": "1", "CV_STATIC_SCENE_REFRESH_S": "0"}
        cv = ServiceProcess("cv", self._server.environment("cv"), folder, **settings)
        await cv.until_it_says("/readyz", "^ok")
        return cv

    def reach(self) -> None:
        """Point commands of this process at the server."""
        for name, value in self._server.environment("admin").items():
            self._monkeypatch.setenv(name, value)

    async def planned(self, **more: object) -> tuple[Job, list[Part]]:
        return await asyncio.to_thread(planned, self._store, self.output, model=f"cv:{MODEL}", device="", **more)

    async def run(self, *, pieces: int | None = None) -> Run:
        """Analyse, and follow the results. pieces: stop after that many."""
        job, todo = await self.planned()
        self.reach()
        return await asyncio.to_thread(self._work, job, todo, pieces)

    def probe(self, job: Job, todo: list[Part]) -> ProbeResult:
        with LiveEngine(self._folder, 1, self.messages.append) as engine:
            return engine.probe(job, todo)

    def _work(self, job: Job, todo: list[Part], pieces: int | None) -> Run:
        with SyncStore(job.output, "--output") as results, LiveEngine(self._folder, 1, self.messages.append) as engine:
            run = Run.create(job, todo, results)
            for n, _ in enumerate(run.analyze(engine, None), 1):
                if n == pieces:
                    return run
            list(run.track(engine))
            with SyncStore(run.job.store, "--store") as recordings:
                write_report(run, recordings, results)
            return run

    def resume(self) -> None:
        """Resume the run, by the command."""
        done = subprocess.run(
            [*COMMAND, "reanalyze", "--resume", str(self.output), "--json"],
            env=os.environ | {"TIDEGATE_DATA": str(self._folder / "data")},
            capture_output=True,
            text=True,
            timeout=patience_s(),
            check=False,
        )
        assert done.returncode == 0, done.stderr


@pytest.fixture
def media() -> list[Piece]:
    """Publish live video of a camera without recordings."""
    video = footage.embedded(footage.cache() / f"footage-{footage.VERSION}")[0]
    return clips.pieces(video, "cam")[:20]


@pytest.fixture
def world(server: NatsServer, tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(server, tmp_path, store, monkeypatch)


async def beat_as(admin: Client, model: str) -> asyncio.Task[None]:
    """Send heartbeats of a fake replica."""
    counts = dict.fromkeys(("pid", "in_flight", "processed", "failed", "items"), 0)
    seconds = dict.fromkeys(("uptime_s", "busy_s", "working_s"), 0.0)
    heartbeat = WorkerStats(service="cv", replica=model, state="ready", model=model, **counts, **seconds)

    async def beat() -> None:
        while True:
            await admin.publish(names.stats("cv", model), stats.encode(heartbeat))
            await asyncio.sleep(0.5)

    return asyncio.create_task(beat())


async def asking(admin: Client, subject: str, data: bytes) -> bytes:
    """The answer; nothing while there is no responder."""
    try:
        return (await ask(admin, subject, data, timeout_s=5)).data
    except TidegateError:
        await asyncio.sleep(0.05)
        return b""
