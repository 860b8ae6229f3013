"""How far a run is, said to the system that runs here: its entry in the bucket `runs`, by a thread of its own.

    with Shown(home, run, "ray") as shown:
        for state in run.work(engine, size):
            shown.looking(state.frames_per_s, ends)

The work waits for nobody: where no system answers, or its server hangs or goes, the run goes on as without one.
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
from shared.contract import names, runs
from shared.contract.runs import BEAT_S, SOONEST_S, Reanalysis
from shared.runtime.errors import TidegateError, Unanswered
from shared.runtime.plain import plain
from shared.runtime.redact import redact
from tidegate.archive.runs import Run, stretches
from tidegate.local import running

# A server may take so long to store an entry; one that is away as the run ends has so long to come back.
_STORE_S, _LAST_S = 2.0, 2.0
_CLOSE_S = 1.0
_MOST_REASON, _MOST_NAME = 500, 200


class Shown:
    """See the module. data: of the system.

    why: what kept a system that is there from being told; empty: nothing did.
    """

    def __init__(self, data: Path, run: Run, engine: str) -> None:
        self.why = ""
        self._run = run
        self._fields = _about(run, engine)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, args=(data,), name="shown", daemon=True)

    def looking(self, frames_per_s: float, ends: dt.datetime) -> None:
        self.say(frames_per_s=frames_per_s, ends=ends, **_progress(self._run))

    def say(self, **fields: Any) -> None:
        """fields: of a `Reanalysis`."""
        self._fields = self._fields | fields

    def __enter__(self) -> Shown:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if error is not None:
            is_stopped = isinstance(error, KeyboardInterrupt)
            reason = "" if is_stopped else plain(redact(str(error) or type(error).__name__))[:_MOST_REASON]
            self.say(state="stopped" if is_stopped else "failed", reason=reason)
        self.say(ends=None, frames_per_s=0.0)
        self._over.set()
        self._thread.join(_STORE_S + _LAST_S + _CLOSE_S)
        if self._thread.is_alive():
            self.why = "its server does not answer"

    def _work(self, data: Path) -> None:
        try:
            asyncio.run(self._told(data))
        except Exception as e:  # whatever it is, the run is to go on
            self.why = plain(redact(str(e) or repr(e)))

    async def _told(self, data: Path) -> None:
        try:
            client = await running.connect(data)
        except TidegateError:  # whoever plans a run says so
            return
        try:
            await self._follow(client)
        finally:
            with contextlib.suppress(TimeoutError, OSError, nats.errors.Error):
                await asyncio.wait_for(client.close(), _CLOSE_S)

    async def _follow(self, client: Client) -> None:
        """Until the run is over, and that was said. Raises BusError where the bucket is missing."""
        bucket: KeyValue | None = None
        said: dict[str, Any] | None = None
        at = 0.0
        while True:
            over = self._over.is_set()
            fields = self._fields
            if over and not await _connected(client):
                self.why = "its server is away"
            elif client.is_connected and (over or fields is not said or time.monotonic() - at >= BEAT_S):
                try:
                    bucket = bucket or await bind(client.jetstream(timeout=_STORE_S), names.RUNS)
                    await bucket.put(fields["run"], _entry(fields))
                    said, at, self.why = fields, time.monotonic(), ""
                except (Unanswered, TimeoutError, nats.errors.Error) as e:
                    self.why = plain(redact(str(e) or repr(e)))
            if over:
                return
            await asyncio.to_thread(self._over.wait, SOONEST_S)


def _about(run: Run, engine: str) -> dict[str, Any]:
    """What an entry says of a run as it begins, or is gone on with."""
    job, rates = run.job, {look.fps for look in run.job.looks.values()}
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
        "captions_done": run.captions - stretches(run.to_caption),
        **_progress(run),
    }


def _progress(run: Run) -> dict[str, int]:
    return {"pieces_done": len(run.pieces) - run.pieces_left, "frames_done": run.frames - run.frames_left}


def _entry(fields: dict[str, Any]) -> bytes:
    """Raises SettingError for what no reader would take."""
    data = runs.encode(Reanalysis(updated=dt.datetime.now(dt.UTC), **fields))
    runs.decode(fields["run"], data)
    return data


async def _connected(client: Client) -> bool:
    """Whether it is, or becomes so in a moment."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_LAST_S):
            while not client.is_connected:
                await asyncio.sleep(0.05)
    return client.is_connected
