"""The whole of Tidegate on one machine: server, ingest, and workers that are scaled by demand.

    async with Stack(data, {"cv": scaled}) as stack:
        stack.admin                   # a connection with all rights
        stack.autoscalers["cv"].state # for the view

State lives in the data directory: a later Stack on it continues where the first stopped; a concurrent one is refused.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from services.console.settings import ConsoleSettings
from shared import bus
from shared.bus.client import Connection
from shared.client import registry
from shared.contract import catalog
from shared.models import measured
from shared.recordings.opening import KEY_FILE
from shared.runtime import child, lock, problems
from shared.runtime.errors import TidegateError
from shared.runtime.private_file import write_private
from shared.runtime.settings import load
from shared.runtime.tasks import end
from shared.runtime.telemetry import Health, logger
from shared.runtime.ticks import tick
from shared.site import journal
from tidegate.keda.scaledobject import ScaledObject
from tidegate.local import logs, recording_keys
from tidegate.local import port as ports
from tidegate.local.healing import SEARCH, Healing, Reindexing
from tidegate.local.problem_monitor import ProblemMonitor
from tidegate.local.running import Running
from tidegate.local.scaling.autoscaler import Autoscaler, observing
from tidegate.local.scaling.replicas import Replicas
from tidegate.local.server import NatsServer

# The intervals between two checks of the parts; and between two requests to a server that is healthy.
WATCH_S, HEALTH_S = 1.0, 5.0
GRACE_S = 30.0
PROBE_S = 5.0
CONSOLE, RECORDER, VLM = "console", "recorder", "vlm"


def steady(*options: str) -> tuple[str, ...]:
    """Return the single-replica services that these options of `tidegate up` start, such as `--search`."""
    return tuple(s.name for s in catalog.started(options, os.environ) if not s.scaled_object)


def settings_of(record: catalog.Service, data: Path, grace_s: float = GRACE_S) -> dict[str, str]:
    """Return the variables by which a service of the stack on `data` runs, without those of its server."""
    places = {"data": data, "drain_s": f"{grace_s / 3:g}"}
    defaults = {k: v.format(**places) for k, v in record.defaults.items() if not os.environ.get(k)}
    return {**defaults, **record.environment}


class Stack:
    """See the module. scaled: the autoscaled services, by name. steady: those of one replica.

    port: of the server, 0 for any; None: the usual one, and another if it is taken. speed: the autoscalers' clock over
    the real one. env: additions to a pool's environment, by its name. grace_s: maximum time of a drain. targets: the
    folder of files for Prometheus' `file_sd_configs`, one per process.
    """

    def __init__(
        self,
        data: Path,
        scaled: Mapping[str, ScaledObject],
        *,
        steady: Sequence[str] = (),
        port: int | None = None,
        speed: float = 1.0,
        env: Mapping[str, Mapping[str, str]] | None = None,
        grace_s: float = GRACE_S,
    ) -> None:
        self.data = data
        self.pools: dict[str, Replicas] = {}
        self.autoscalers: dict[str, Autoscaler] = {}
        self._scaled = scaled
        self._steady = tuple(dict.fromkeys(("ingest", *steady)))
        self._port = port
        self._speed = speed
        self._env = env or {}
        self._grace_s = grace_s
        self._autoscaling: list[asyncio.Task[None]] = []
        self._watching: asyncio.Task[None] | None = None
        self._reindexing: Reindexing | None = None
        usual = load(ConsoleSettings).console_port if port != 0 else 0
        self._console_port, self._console_change = ports.choose_console(usual)
        self.changed: list[str] = []
        self.health = Health()
        self._readers_error = self._endpoint_error = ""
        self.targets = data / "metrics"
        self._logs = data / "logs"

    async def __aenter__(self) -> Stack:
        async with AsyncExitStack() as opened:
            await self._start(opened)
            self._opened = opened.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._opened.aclose()

    async def _start(self, opened: AsyncExitStack) -> None:
        """Start in the order of dependency, and close in reverse: workers drain before the server, which stores their
        work.
        """
        taken = f"another Tidegate runs on {self.data}: stop it, or choose another directory with --data"
        opened.enter_context(lock.acquire(self.data / "lock", taken))
        chosen, change = ports.choose(self.data, self._port)
        self.server = NatsServer(self.data, port=chosen)
        self._open_logs(opened)
        # Files of a killed run point to ended processes.
        shutil.rmtree(self.targets, ignore_errors=True)
        opened.callback(shutil.rmtree, self.targets, ignore_errors=True)
        opened.push_async_callback(self.server.stop)
        await self.server.start()
        self.healing = Healing(self.server)
        self.admin = await self._connect("admin", opened)
        console_change = self._console_change if CONSOLE in self._steady else ""
        self.changed = [sentence for sentence in (change, console_change) if sentence]
        self.changed += await self.server.set_up(self.admin)
        self.changed += await registry.bind_credentials(self.admin.jetstream())
        self.changed += await registry.hide_paths(self.admin.jetstream())
        self.changed += await journal.recover(self.admin.jetstream(), "tidegate up")
        live_metrics = await opened.enter_async_context(observing(await self._connect("scaler", opened), self._speed))
        self.pools = {name: self._pool(name) for name in (*self._steady, *self._scaled)}
        opened.push_async_callback(self._close_pools)
        for name, scaled in self._scaled.items():
            self.autoscalers[name] = Autoscaler(live_metrics, scaled, self.pools[name], speed=self._speed)
        for name in self._steady:
            await self.pools[name].scale_to(1)
        if SEARCH in self._steady:
            self._reindexing = Reindexing({**os.environ, **self._environment(SEARCH)}["SEARCH_INDEX"])
        self.monitor = ProblemMonitor(self.data, self.targets, self.pools, self._troubles)
        opened.callback(self.monitor.close)
        self._autoscaling = [asyncio.create_task(a.run(), name=f"scale {n}") for n, a in self.autoscalers.items()]
        self._autoscaling.append(asyncio.create_task(self.monitor.run(), name="problems"))
        if VLM in self._scaled:
            opened.push_async_callback(end, asyncio.create_task(self._probe_endpoint(), name="endpoint"))
        self._watching = asyncio.create_task(self._watch(), name="watch")
        opened.push_async_callback(end, self._watching, *self._autoscaling)
        self.health.ready = None
        found_by = self.data / "run.json"
        opened.callback(found_by.unlink, missing_ok=True)
        running = Running(self.server.url, os.getpid(), self.console_url)
        write_private(found_by, msgspec.json.encode(running).decode())

    async def add(self, name: str) -> None:
        """Start a service of one replica in addition, until the end."""
        self.pools[name] = self._pool(name)
        await self.pools[name].scale_to(1)

    def _open_logs(self, opened: AsyncExitStack) -> None:
        """Limit the logs until the end. Raises SettingError."""
        settings = load(logs.LogSettings)
        # They name cameras and addresses, and other users may read the data directory.
        self._logs.mkdir(exist_ok=True)
        self._logs.chmod(0o700)
        limiting = asyncio.create_task(logs.limit(settings, self._logs, self.server.log), name="limit logs")
        opened.push_async_callback(end, limiting)

    @property
    def console_url(self) -> str:
        """Return the URL of its pages for a local user; empty without a console."""
        if CONSOLE not in self._steady:
            return ""
        scheme = "https" if os.environ.get("CONSOLE_CERT") else "http"
        return os.environ.get("CONSOLE_URL") or f"{scheme}://127.0.0.1:{self._console_port}"

    async def failed(self) -> None:
        """Wait until a part of the stack fails that it can't restart, and raise its error."""
        if self._watching:
            await asyncio.shield(self._watching)

    async def _watch(self) -> None:
        """Restart the server if it dies or stores nothing; raise the error of an ended autoscaler."""
        next_request = 0.0
        while True:
            self.health.beat()
            if self.healing.trouble or self.server.has_died or time.monotonic() >= next_request:
                next_request = time.monotonic() + HEALTH_S
                await self.healing.look(self.admin)
            self.health.ready = self.healing.trouble or None
            await self._take_readers()
            if self._reindexing:
                await self._reindexing.look(self.admin.jetstream())
            for task in self._autoscaling:
                if task.done():
                    task.result()
            await tick(WATCH_S)

    def _troubles(self) -> dict[tuple[str, str], str]:
        """Return what is wrong with the parts that have no page."""
        return {("nats-server", "nats-server"): self.healing.trouble, (VLM, "VLM_URL"): self._endpoint_error}

    async def _probe_endpoint(self) -> None:
        """Ask the endpoint of VLM_URL until it answers: without work no replica does."""
        from services.vlm.endpoints.connection import probe
        from services.vlm.settings import VlmSettings

        settings = load(VlmSettings, {**os.environ, **self._environment(VLM)})
        if urlsplit(settings.vlm_url).scheme not in ("http", "https"):
            return
        while error := await probe(settings):
            self._endpoint_error = error
            await asyncio.sleep(PROBE_S)
        self._endpoint_error = ""

    async def _take_readers(self) -> None:
        """Reload the readers that 'tidegate reader' added meanwhile."""
        try:
            if await self.server.reload():
                logger("stack").info("nats-server takes its readers anew")
        except (TidegateError, OSError) as e:
            if str(e) != self._readers_error:
                self._readers_error = str(e)
                logger("stack").error("readers stay as they were", error=self._readers_error)

    def _pool(self, name: str) -> Replicas:
        """Return the replicas of a service, run by its record in the catalog."""
        command, env = child.python(catalog.find(name).module), self._environment(name)
        return Replicas(name, command, env, self._logs, targets=self.targets, grace_s=self._grace_s)

    def _environment(self, name: str) -> dict[str, str]:
        record = catalog.find(name)
        identity = self.server.environment(record.identity)
        if name == CONSOLE:
            identity["CONSOLE_PORT"] = str(self._console_port)
            identity["CONSOLE_PROBLEMS"] = str(self.data / problems.FILE)
            identity["CONSOLE_MODELS"] = str((self.data / measured.FOLDER).resolve())
        if name == RECORDER and (keys := recording_keys.used(self.data)):
            identity[KEY_FILE] = keys
        return {**identity, **settings_of(record, self.data, self._grace_s), **self._env.get(name, {})}

    async def _close_pools(self) -> None:
        await asyncio.gather(*(pool.close() for pool in self.pools.values()))

    async def _connect(self, identity: str, opened: AsyncExitStack) -> Connection:
        client = await bus.connect(self.server.settings(identity), identity)
        opened.push_async_callback(client.close)
        return client
