"""Publishes the progress of a run to the local system, as an entry in the bucket `runs`, from a thread.

    with ProgressPublisher(home, run, "ray") as publisher:
        for progress in run.analyze(engine, size):
            publisher.analyzing(progress.per_s, ends)

The run never waits for it: if no system answers, or its server hangs or dies, the run continues.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import socket
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import nats.errors
from nats.aio.client import Client
from nats.js.kv import KeyValue

from shared.bus.mirror import bind
from shared.contract import names
from shared.contract.work import runs
from shared.contract.work.runs import BEAT_S, SOONEST_S, Reanalysis
from shared.runtime.errors import TidegateError, Unanswered
from shared.runtime.plain import plain
from shared.runtime.redact import redact
from tidegate.archive.run import Run, count_stretches
from tidegate.local import running

# Maximum seconds for the server to store an entry, and to come back if it is away when the run ends.
_STORE_S, _LAST_S = 2.0, 2.0
_CLOSE_S = 1.0
_MOST_REASON, _MOST_NAME = 500, 200


class ProgressPublisher:
    """See the module. data: of the system. error: why a running system has no current entry; empty: it has."""

    def __init__(self, data: Path, run: Run, engine: str) -> None:
        self.error = ""
        self._run = run
        self._fields = _initial_fields(run, engine)
        self._finished = threading.Event()
        self._thread = threading.Thread(target=self._publish_from_thread, args=(data,), name="progress", daemon=True)

    def analyzing(self, frames_per_s: float, ends: dt.datetime) -> None:
        self.update(frames_per_s=frames_per_s, ends=ends, **_progress(self._run))

    def update(self, **fields: Any) -> None:
        """Set fields of the entry, a `Reanalysis`."""
        self._fields = self._fields | fields

    def __enter__(self) -> ProgressPublisher:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if error is not None:
            is_stopped = isinstance(error, KeyboardInterrupt)
            reason = "" if is_stopped else plain(redact(str(error) or type(error).__name__))[:_MOST_REASON]
            self.update(state="stopped" if is_stopped else "failed", reason=reason)
        self.update(ends=None, frames_per_s=0.0)
        self._finished.set()
        self._thread.join(_STORE_S + _LAST_S + _CLOSE_S)
        if self._thread.is_alive():
            self.error = "its server does not answer"

    def _publish_from_thread(self, data: Path) -> None:
        try:
            asyncio.run(self._connect_and_publish(data))
        except Exception as e:  # no error here may stop the run
            self.error = plain(redact(str(e) or repr(e)))

    async def _connect_and_publish(self, data: Path) -> None:
        try:
            client = await running.connect(data)
        except TidegateError:  # the planning of a run reports it
            return
        try:
            await self._publish(client)
        finally:
            with contextlib.suppress(TimeoutError, OSError, nats.errors.Error):
                await asyncio.wait_for(client.close(), _CLOSE_S)

    async def _publish(self, client: Client) -> None:
        """Publish changes and heartbeats until the last entry of the run. Raises BusError if the bucket is missing."""
        bucket: KeyValue | None = None
        published: dict[str, Any] | None = None
        at = 0.0
        while True:
            finished = self._finished.is_set()
            fields = self._fields
            if finished and not await _connected(client):
                self.error = "its server is away"
            elif client.is_connected and (finished or fields is not published or time.monotonic() - at >= BEAT_S):
                try:
                    bucket = bucket or await bind(client.jetstream(timeout=_STORE_S), names.RUNS)
                    await bucket.put(fields["run"], _entry(fields))
                    published, at, self.error = fields, time.monotonic(), ""
                except (Unanswered, TimeoutError, nats.errors.Error) as e:
                    self.error = plain(redact(str(e) or repr(e)))
            if finished:
                return
            await asyncio.to_thread(self._finished.wait, SOONEST_S)


def _initial_fields(run: Run, engine: str) -> dict[str, Any]:
    """Return the fields of a run that starts or resumes."""
    job, rates = run.job, {settings.fps for settings in run.job.looks.values()}
    return {
        "run": job.run,
        "cameras": tuple(job.looks),
        "since": job.since.astimezone(dt.UTC),
        "until": job.until.astimezone(dt.UTC),
        "model": redact(job.models, _MOST_NAME),
        "fps": rates.pop() if len(rates) == 1 else None,
        "host": socket.gethostname(),
        "engine": engine,
        "output": redact(job.output.partition("?")[0]) if "://" in job.output else job.output,
        "began": dt.datetime.now(dt.UTC),
        "state": "looking",
        "pieces": len(run.pieces),
        "frames": run.frames,
        "captions": run.captions,
        "captions_done": run.captions - count_stretches(run.to_caption),
        **_progress(run),
    }


def _progress(run: Run) -> dict[str, int]:
    return {"pieces_done": len(run.pieces) - run.pieces_left, "frames_done": run.frames - run.frames_left}


def _entry(fields: dict[str, Any]) -> bytes:
    """Encode an entry. Raises SettingError if no reader would accept it."""
    data = runs.encode(Reanalysis(updated=dt.datetime.now(dt.UTC), **fields))
    runs.decode(fields["run"], data)
    return data


async def _connected(client: Client) -> bool:
    """Return whether the client is connected, or reconnects within _LAST_S."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_LAST_S):
            while not client.is_connected:
                await asyncio.sleep(0.05)
    return client.is_connected
