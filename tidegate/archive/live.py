"""Work by the replicas of cv that run anyway, while they have nothing else to do.

    with Live(home, workers, echo) as engine:
        for looked in engine.looked(job, todo, None): ...

What they saw is written here, as whatever another engine sees.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from shared.contract import names, stats
from shared.runtime.errors import BadMessage, SettingError, TidegateError
from tidegate.archive.following import Course, Followed
from tidegate.archive.giving import QUIET_S, SERVICE, Giving
from tidegate.archive.job import LIVE, Job, Piece
from tidegate.archive.local import Local
from tidegate.archive.looking import Looked, keep, seen_of
from tidegate.archive.place import Place, recordings
from tidegate.archive.probe import Probed, beginning
from tidegate.archive.reading import Size
from tidegate.local import running

T = TypeVar("T")

# So long the first word of a replica is waited for, and for those of others after it: each says one a second.
_FIRST_S, _OTHERS_S = 5.0, 1.2
_CLOSE_S = 3.0


class _Aside:
    """A loop in a thread of its own: replicas are answered, whatever this process does meanwhile."""

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


class Live:
    """data: of the system. workers: processes here, which follow objects. say: tells whoever waits why."""

    def __init__(self, data: Path, workers: int, say: Callable[[str], None]) -> None:
        self._data = data
        self._here = Local(workers, 1)
        self._say = say
        self._aside = _Aside()
        self._client: Client | None = None
        # When each replica was last heard of, and with which model.
        self._beats: dict[str, tuple[float, str]] = {}

    def __enter__(self) -> Live:
        """Raises BusError where no system runs."""
        try:
            self._aside.run(self._open())
        except BaseException:
            self._aside.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with contextlib.suppress(TimeoutError, nats.errors.Error, OSError):
            if self._client:
                self._aside.run(asyncio.wait_for(self._client.close(), _CLOSE_S))
        self._aside.close()

    @property
    def workers(self) -> int:
        """Replicas that run now."""
        return max(1, len(self._models()))

    def model(self) -> str:
        """What replicas look with, as a job has it. Raises SettingError where none runs, or not all look with one."""
        found = sorted(set(self._models()))
        if not found:
            raise SettingError(
                "no replica of cv runs, so that none has time: start one, or leave out --live and look here"
            )
        if len(found) > 1:
            raise SettingError(f"cv's replicas look with {' and '.join(found)}: wait until all run the same version")
        return LIVE + found[0]

    def _models(self) -> list[str]:
        """Of each replica that runs now."""
        now = time.monotonic()
        return [model for at, model in list(self._beats.values()) if now - at < QUIET_S]

    def probe(self, job: Job, pieces: Sequence[Piece]) -> Probed:
        """By a replica. Raises TidegateError."""
        if (runs := self.model()) != job.model:
            raise SettingError(
                f"cv's replicas look with {runs.removeprefix(LIVE)} now, and this run with "
                f"{job.models}: begin another run"
            )
        with recordings(job) as kept:
            for piece in pieces:
                some = beginning(piece, job)
                for seen in self._seen(job, [some], kept):
                    if seen.frames:
                        rate = seen.frames / max(1e-3, seen.busy_s)
                        return Probed(name=job.models, size=None, labels=(), frames_per_s=rate)
        raise TidegateError(f"nothing can be looked at in {', '.join(piece.file.key for piece in pieces)}")

    def looked(self, job: Job, todo: Sequence[Piece], size: Size) -> Iterator[Looked]:
        """Each piece, as it is done. Raises TidegateError."""
        with recordings(job) as kept, Place(job.output, "--output") as results:
            yield from self._seen(job, todo, kept, results)

    def followed(self, job: Job, todo: Sequence[Course]) -> Iterator[Followed]:
        """Each camera, as it is done, by processes here. Raises TidegateError."""
        return self._here.followed(job, todo)

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
            said = stats.decode(message.data)
        except BadMessage:
            return
        if said.state == "ready":
            self._beats[said.replica] = time.monotonic(), said.model

    def _seen(self, job: Job, todo: Sequence[Piece], kept: Place, results: Place | None = None) -> Iterator[Looked]:
        """Each piece, once it is written to `results`, if it is to be."""
        assert self._client
        giving = Giving(self._client, job, todo, kept, lambda: self.workers)
        self._aside.run(giving.begin())
        try:
            said = ""
            for _ in todo:
                while (opened := self._aside.run(giving.next())) is None:
                    if (why := self._why(job, giving)) and why != said:
                        self._say(why)
                    said = why
                parts = [part for part in opened.parts if part]
                model = job.models
                seen = seen_of(job, opened.piece, model, parts, opened.objects, opened.busy_s)
                if results:
                    keep(results, seen)
                yield seen.looked
        finally:
            self._aside.run(giving.end())

    def _why(self, job: Job, giving: Giving) -> str:
        """What a run waits for, where nobody asks; empty: somebody does."""
        if giving.asked is not None and time.monotonic() - giving.asked < QUIET_S:
            return ""
        if job.models in self._models():
            return "cv's replicas have no time: waiting for them"
        return f"no replica of cv runs with {job.models}: waiting for one"
