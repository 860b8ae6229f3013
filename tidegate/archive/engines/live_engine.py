"""Execution of a run by the live replicas of cv, while they are idle.

    with LiveEngine(home, workers, echo) as engine:
        for totals in engine.analyze(job, todo, None): ...

This process reads the recordings and writes the results.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from shared.contract import names
from shared.contract.work import stats
from shared.runtime.errors import BadMessage, SettingError, TidegateError
from tidegate.archive.engines.local_engine import LocalEngine
from tidegate.archive.engines.task_server import SERVICE, SILENCE_S, TaskServer
from tidegate.archive.frames.analysis import AnalysisTotals, analysis_result, write_result
from tidegate.archive.frames.decoding import Size
from tidegate.archive.frames.probe import ProbeResult, first_frames
from tidegate.archive.frames.tracking import TrackingTask, TrackingTotals
from tidegate.archive.job import LIVE, Job, Piece
from tidegate.archive.sync_store import SyncStore, open_recordings
from tidegate.local import running

T = TypeVar("T")

# Seconds to wait for the first heartbeat, and then for those of other replicas: each sends one a second.
_FIRST_S, _OTHERS_S = 5.0, 1.2
_CLOSE_S = 3.0


class _LoopThread:
    """An event loop in a thread: it answers replicas while the main thread is busy."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="live", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class LiveEngine:
    """See the module. data: of the system. workers: local processes for tracking. notify: receives reasons to wait."""

    def __init__(self, data: Path, workers: int, notify: Callable[[str], None]) -> None:
        self._data = data
        self._local = LocalEngine(workers, 1)
        self._notify = notify
        self._loop_thread = _LoopThread()
        self._client: Client | None = None
        # By replica: the time of its last heartbeat, and its model.
        self._beats: dict[str, tuple[float, str]] = {}

    def __enter__(self) -> LiveEngine:
        """Connect. Raises BusError if no system runs."""
        try:
            self._loop_thread.run(self._open())
        except BaseException:
            self._loop_thread.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(TimeoutError, nats.errors.Error, OSError):
            if self._client:
                self._loop_thread.run(asyncio.wait_for(self._client.close(), _CLOSE_S))
        self._loop_thread.close()

    @property
    def workers(self) -> int:
        """The number of running replicas, at least 1."""
        return max(1, len(self._models()))

    def model(self) -> str:
        """Return the replicas' model, as a job names it. Raises SettingError if none runs or their models differ."""
        models = sorted(set(self._models()))
        if not models:
            raise SettingError(
                "no replica of cv runs, so that none has time: start one, or leave out --live and look here"
            )
        if len(models) > 1:
            raise SettingError(f"cv's replicas look with {' and '.join(models)}: wait until all run the same version")
        return LIVE + models[0]

    def _models(self) -> list[str]:
        """Return the model of each running replica."""
        now = time.monotonic()
        return [model for at, model in list(self._beats.values()) if now - at < SILENCE_S]

    def probe(self, job: Job, pieces: Sequence[Piece]) -> ProbeResult:
        """Measure a replica. Raises TidegateError."""
        if (model := self.model()) != job.model:
            raise SettingError(
                f"cv's replicas look with {model.removeprefix(LIVE)} now, and this run with "
                f"{job.models}: begin another run"
            )
        with open_recordings(job) as recordings:
            for piece in pieces:
                beginning = first_frames(piece, job)
                for totals in self._analyze(job, [beginning], recordings):
                    if totals.frames:
                        rate = totals.frames / max(1e-3, totals.busy_s)
                        return ProbeResult(name=job.models, size=None, labels=(), frames_per_s=rate)
        raise TidegateError(
            f"no frame of {', '.join(piece.file.key for piece in pieces)} can be analysed: see cv's log"
        )

    def analyze(self, job: Job, todo: Sequence[Piece], size: Size) -> Iterator[AnalysisTotals]:
        """Yield the totals of each piece as it finishes. Raises TidegateError."""
        with open_recordings(job) as recordings, SyncStore(job.output, "--output") as results:
            yield from self._analyze(job, todo, recordings, results)

    def track(self, job: Job, todo: Sequence[TrackingTask]) -> Iterator[TrackingTotals]:
        """Yield the totals of each camera as a local process finishes it. Raises TidegateError."""
        return self._local.track(job, todo)

    async def _open(self) -> None:
        self._client = await running.connect(self._data)
        await self._client.subscribe(names.stats(SERVICE, ">"), cb=self._beat)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_FIRST_S):
                while not self._beats:
                    await asyncio.sleep(0.1)
                await asyncio.sleep(_OTHERS_S)

    async def _beat(self, message: Msg) -> None:
        try:
            heartbeat = stats.decode(message.data)
        except BadMessage:
            return
        if heartbeat.state == "ready":
            self._beats[heartbeat.replica] = time.monotonic(), heartbeat.model

    def _analyze(
        self, job: Job, todo: Sequence[Piece], recordings: SyncStore, results: SyncStore | None = None
    ) -> Iterator[AnalysisTotals]:
        """Yield the totals of each piece. results: where to write it; None: nowhere."""
        assert self._client
        server = TaskServer(self._client, job, todo, recordings, lambda: self.workers)
        self._loop_thread.run(server.begin())
        try:
            notified = ""
            for _ in todo:
                while (opened := self._loop_thread.run(server.next())) is None:
                    if (reason := self._wait_reason(job, server)) and reason != notified:
                        self._notify(reason)
                    notified = reason
                segments = [one for one in opened.segments if one]
                model = job.models
                result = analysis_result(job, opened.piece, model, segments, opened.objects, opened.busy_s)
                if results:
                    write_result(results, result)
                yield result.totals
        finally:
            self._loop_thread.run(server.end())

    def _wait_reason(self, job: Job, server: TaskServer) -> str:
        """Return why no replica requests a task; empty: one does."""
        if server.last_request is not None and time.monotonic() - server.last_request < SILENCE_S:
            return ""
        if job.models in self._models():
            return "cv's replicas have no time: waiting for them"
        return f"no replica of cv runs with {job.models}: waiting for one"
