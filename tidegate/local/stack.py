"""The whole of Tidegate on one machine: server, ingest, and workers that follow the pending count.

    async with Stack(data, {"cv": scaled}) as stack:
        stack.admin                   # a connection that may do everything
        stack.autoscalers["cv"].state # what the view shows

State lives in the data directory: a second Stack on it continues where the first stopped, and two at once are refused.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, NamedTuple

import msgspec
from nats.aio.client import Client

from services.scaler.keda.scaledobject import ScaledObject
from services.scaler.local.autoscaler import Autoscaler
from services.scaler.local.replicas import Replicas
from shared import bus
from shared.contract import topology
from shared.runtime import settings
from shared.runtime.errors import SettingError
from shared.runtime.tasks import end
from shared.runtime.telemetry import Health, logger
from tidegate.local.running import Running
from tidegate.local.server import NatsServer

DEFAULT_PORT = 4222
# What search needs beside the workers that embed: the index, and one process that encodes queries at all hours, as the
# workers may be at zero.
SEARCH = ("search", "queries")
# What a vision language model needs beside the workers that ask it: who answers questions and plans captions, also
# while the workers are at zero.
VLM = ("vlm-front",)
WATCH_S = 0.5


class _Program(NamedTuple):
    """What a pool runs: a module of `services`, as an identity."""

    service: str
    identity: str
    env: Mapping[str, str]


_PROGRAMS = {
    "queries": _Program("embed", "embed", {"EMBED_MODE": "queries"}),
    "vlm-front": _Program("vlm", "vlm-front", {"VLM_MODE": "front"}),
}


class Stack:
    """See the module. scaled: the services that follow their consumers, by name. steady: those of one replica.

    port: of the server, another if it is taken. speed: the autoscalers' clock over the real one. env: added to a pool's
    environment, by its name. grace_s: what a drain may take.
    """

    def __init__(
        self,
        data: Path,
        scaled: Mapping[str, ScaledObject],
        *,
        steady: Sequence[str] = (),
        port: int = DEFAULT_PORT,
        speed: float = 1.0,
        env: Mapping[str, Mapping[str, str]] | None = None,
        grace_s: float = 30.0,
    ) -> None:
        self.data = data
        self.pools: dict[str, Replicas] = {}
        self.autoscalers: dict[str, Autoscaler] = {}
        self._scaled = scaled
        self._steady = ("ingest", *steady)
        self._port = port
        self._speed = speed
        self._env = env or {}
        self._grace_s = grace_s
        self._lock: IO[str] | None = None
        self._clients: list[Client] = []
        self._autoscaling: list[asyncio.Task[None]] = []
        self._watching: asyncio.Task[None] | None = None
        self.changed: list[str] = []
        self.health = Health()

    async def __aenter__(self) -> Stack:
        self._take_lock()
        self.server = NatsServer(self.data, port=self._port)
        try:
            await self.server.start()
            self.admin = await self._connect("admin")
            limits = settings.load(topology.TopologySettings)
            self.changed = await topology.apply(self.admin.jetstream(), limits)
            self.pools = {name: self._pool(name) for name in (*self._steady, *self._scaled)}
            scaler = await self._connect("scaler")
            for name, scaled in self._scaled.items():
                self.autoscalers[name] = Autoscaler(scaler, scaled, self.pools[name], speed=self._speed)
            for name in self._steady:
                await self.pools[name].scale_to(1)
            self._autoscaling = [asyncio.create_task(a.run(), name=f"scale {n}") for n, a in self.autoscalers.items()]
            self.health.ready = None
            self._watching = asyncio.create_task(self._watch(), name="watch")
            (self.data / "run.json").write_bytes(msgspec.json.encode(Running(self.server.url, os.getpid())))
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stop()

    async def failed(self) -> None:
        """Waits for ever, unless a part of the stack fails that it can't start again: raises its error."""
        if self._watching:
            await asyncio.shield(self._watching)

    async def _watch(self) -> None:
        """Start the server again if it dies; raise what ends the autoscaler."""
        while True:
            self.health.beat()
            if self.server.has_died:
                logger("stack").error("nats-server died and is started again", log=str(self.server.log))
                await self.server.start()
            for task in self._autoscaling:
                if task.done():
                    task.result()
            await asyncio.sleep(WATCH_S)

    def _pool(self, name: str) -> Replicas:
        program = _PROGRAMS.get(name, _Program(name, name, {}))
        env = {**self.server.environment(program.identity), **self._environment(program), **self._env.get(name, {})}
        command = [sys.executable, "-m", f"services.{program.service}"]
        return Replicas(name, command, env, self.data / "logs", grace_s=self._grace_s)

    def _environment(self, program: _Program) -> Mapping[str, str]:
        if program.service == "search" and not os.environ.get("SEARCH_INDEX"):
            return {"SEARCH_INDEX": str(self.data / "index")}
        if program.identity == "vlm" and not os.environ.get("VLM_GRACE_S"):
            # What it has begun may take longer than we wait: that is handed back, and its vLLM ended, in time.
            return {"VLM_GRACE_S": f"{self._grace_s / 3:g}"}
        return program.env

    async def _connect(self, identity: str) -> Client:
        client = await bus.connect(self.server.settings(identity), identity)
        self._clients.append(client)
        return client

    async def _stop(self) -> None:
        """Ingest and workers first, each in its own time; then the server, which keeps what they left."""
        (self.data / "run.json").unlink(missing_ok=True)
        await end(self._watching, *self._autoscaling)
        await asyncio.gather(*(pool.close() for pool in self.pools.values()))
        for client in self._clients:
            await client.close()
        await self.server.stop()
        if self._lock:
            self._lock.close()

    def _take_lock(self) -> None:
        self.data.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = (self.data / "lock").open("a+")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as e:
            self._lock.close()
            raise SettingError(
                f"another Tidegate runs on {self.data}: stop it, or choose another directory with --data"
            ) from e
