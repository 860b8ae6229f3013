"""The whole of Tidegate on one machine: server, ingest, and workers that follow the pending count.

    async with Stack(data, scaled) as stack:
        stack.admin            # a connection that may do everything
        stack.autoscaler.state # what the view shows

State lives in the data directory: a second Stack on it continues where the first stopped, and two at once are refused.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO

import msgspec
from nats.aio.client import Client

from services.scaler.autoscaler import Autoscaler
from services.scaler.replicas import Replicas
from services.scaler.scaledobject import ScaledObject
from shared import bus, settings, topology
from shared.errors import BusError, SettingError
from shared.settings import BusSettings
from shared.tasks import end
from shared.telemetry import Health, logger
from tidegate.server import NatsServer

DEFAULT_PORT = 4222
WATCH_S = 0.5


def default_data() -> Path:
    """TIDEGATE_DATA, or `.tidegate` in the home directory."""
    return Path(os.environ.get("TIDEGATE_DATA") or Path.home() / ".tidegate")


class Running(msgspec.Struct, frozen=True):
    """What a running stack leaves in its data directory for other commands to find it by."""

    url: str
    pid: int


async def connect(data: Path, identity: str = "admin") -> Client:
    """Connect to the server that NATS_URL names, else to the stack that runs on `data`. Raises BusError."""
    if os.environ.get("NATS_URL"):
        return await bus.connect(settings.load(BusSettings), identity, inbox="_INBOX_admin", timeout_s=5)
    try:
        running = msgspec.json.decode((data / "run.json").read_bytes(), type=Running)
        password = (data / "secrets" / identity).read_text()
    except FileNotFoundError as e:
        raise BusError(f"nothing runs on {data}: start 'tidegate up', or set NATS_URL to a server") from e
    found = BusSettings(nats_url=running.url, nats_user=identity, nats_password=password)
    return await bus.connect(found, identity, timeout_s=5)


class Stack:
    """See the module. port: of the server, another if it is taken. speed: the autoscaler's clock over the real one.

    cv_env: environment added to the workers'. grace_s: what their drain may take.
    """

    def __init__(
        self,
        data: Path,
        scaled: ScaledObject,
        *,
        port: int = DEFAULT_PORT,
        speed: float = 1.0,
        cv_env: Mapping[str, str] | None = None,
        ingest_env: Mapping[str, str] | None = None,
        grace_s: float = 30.0,
    ) -> None:
        self.data = data
        self._scaled = scaled
        self._port = port
        self._speed = speed
        self._cv_env = dict(cv_env or {})
        self._ingest_env = dict(ingest_env or {})
        self._grace_s = grace_s
        self._lock: IO[str] | None = None
        self._clients: list[Client] = []
        self._autoscaling: asyncio.Task[None] | None = None
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
            logs = self.data / "logs"
            python = sys.executable
            self.ingest = Replicas(
                "ingest",
                [python, "-m", "services.ingest"],
                self.server.environment("ingest") | self._ingest_env,
                logs,
                grace_s=self._grace_s,
            )
            self.cv = Replicas(
                "cv",
                [python, "-m", "services.cv"],
                self.server.environment("cv") | self._cv_env,
                logs,
                grace_s=self._grace_s,
            )
            scaler = await self._connect("scaler")
            self.autoscaler = Autoscaler(scaler, self._scaled, self.cv, speed=self._speed)
            await self.ingest.scale_to(1)
            self._autoscaling = asyncio.create_task(self.autoscaler.run(), name="autoscaler")
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
            if self._autoscaling and self._autoscaling.done():
                self._autoscaling.result()
            await asyncio.sleep(WATCH_S)

    async def _connect(self, identity: str) -> Client:
        client = await bus.connect(self.server.settings(identity), identity)
        self._clients.append(client)
        return client

    async def _stop(self) -> None:
        """Ingest and workers first, each in its own time; then the server, which keeps what they left."""
        (self.data / "run.json").unlink(missing_ok=True)
        await end(self._watching, self._autoscaling)
        pools = [pool for name in ("ingest", "cv") if (pool := getattr(self, name, None))]
        await asyncio.gather(*(pool.close() for pool in pools))
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
