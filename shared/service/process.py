"""A service's process: its settings, its packages, signals, exit codes, and one worker process per GPU.

    with process.needing("cv"):                            # around the imports of an extra's packages
        from services.cv.service import CvService

    settings = process.settings("cv", CvSettings)          # or prints them, for --help
    process.main("cv", settings, run)

The first SIGTERM or Ctrl-C sets `stop`, and the service drains; the second ends the process immediately. Exit codes: 0
drained, 1 failed, 2 bad configuration, 70 the device is stuck, 130 interrupted while it was loading.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeAlias, TypeVar

import nats.errors
from nats.aio.client import Client

from shared import bus
from shared.bus.client import Connection
from shared.contract import catalog
from shared.runtime import install, telemetry
from shared.runtime.child import bound, python
from shared.runtime.errors import ModelError, SettingError, TidegateError, connection_closed
from shared.runtime.pages import monitoring
from shared.runtime.settings import BusSettings, from_environment
from shared.runtime.tasks import unless
from shared.runtime.ticks import tick

# The maximum interval between a process's signs of life.
BEAT_S = 1.0
# The start of this process, by the monotonic clock, before its imports.
STARTED = time.monotonic()

S = TypeVar("S", bound=BusSettings)
Run: TypeAlias = Callable[[S, Connection, telemetry.Health, asyncio.Event], Awaitable[None]]


@contextlib.contextmanager
def needing(service: str) -> Iterator[None]:
    """End the process, with a message and code 2, if an import needs an extra that is not installed."""
    try:
        yield
    except ModuleNotFoundError as e:
        package, extras = (e.name or "").partition(".")[0], catalog.find(service).extras
        modules = {module.partition(".")[0] for extra in extras for module in catalog.EXTRAS[extra].modules}
        if package not in modules:
            raise
        print(f"{service}: {package} is not installed: {install.command(*extras)}", file=sys.stderr)
        raise SystemExit(2) from None


def settings(service: str, kind: type[S]) -> S:
    """Return a service's settings from the environment. Print them and exit for `--help`; exit 2 on an error."""
    record = catalog.find(service)
    return from_environment(kind, record.module, record.purpose)


def main(service: str, settings: S, run: Run[S], *, per_gpu: int = 1) -> None:
    """Serve health and metrics, connect, and run `run(settings, client, health, stop)` to its end; then exit.

    service: its name in the catalog, which defines its NATS identity. per_gpu: the number of worker processes, one per
    GPU; this process supervises them.
    """
    # A core file would hold passwords, keys and video.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if per_gpu > 1:
        raise SystemExit(_watch(service, per_gpu))
    telemetry.configure(settings, service)
    log = telemetry.logger(service)
    try:
        asyncio.run(_run_until_stopped(service, settings, run))
    except (SettingError, ModelError) as e:
        log.error("can't start", error=str(e))
        _exit(2)
    except TidegateError as e:
        log.error("stopped", error=str(e))
        _exit(1)
    except Exception:
        log.exception("failed")
        _exit(1)
    _exit(0)


async def _run_until_stopped(service: str, settings: S, run: Run[S]) -> None:
    stop = asyncio.Event()

    def on_signal() -> None:
        if stop.is_set():
            os._exit(1)
        stop.set()

    loop = asyncio.get_running_loop()
    for sig in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(sig, on_signal)
    health = telemetry.Health()
    monitoring.tell_prometheus(settings, service, monitoring.serve(settings, health))
    client = await unless(stop, bus.connect(settings, catalog.find(service).identity, health=health))
    if client is None:
        return
    health.ready = "starting"
    try:
        await run(settings, client, health, stop)
    finally:
        # A server outage must not make a drained process a failed one.
        with contextlib.suppress(OSError, TimeoutError, nats.errors.Error):
            await client.close()


async def beat(
    client: Client, health: telemetry.Health, *also: Callable[[], Awaitable[None]], every_s: float = BEAT_S
) -> None:
    """Report to `/healthz` that the process is alive, and call `also` at the same interval, until cancelled.

    Raises BusError once the connection is closed.
    """
    while not client.is_closed:
        health.beat()
        for do in also:
            await do()
        await tick(min(every_s, BEAT_S))
    raise connection_closed()


def _exit(code: int) -> None:
    """Exit even if threads of a device or a camera hang: they must not keep a drained process alive."""
    telemetry.flush()
    sys.stderr.flush()
    os._exit(code)


def _watch(service: str, count: int) -> int:
    """Run one child per GPU; return the exit code. When one ends, the others drain, and the supervisor restarts us."""
    name = os.environ.get("REPLICA", f"{service}-0")
    port = int(os.environ.get("METRICS_PORT") or 0)
    # The GPUs that the operator makes visible, if set.
    gpus = [g for g in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if g] or [str(i) for i in range(count)]
    if len(gpus) < count:
        remedy = f"set NUM_GPUS to at most {len(gpus)}, or name more GPUs"
        print(f"{service}: NUM_GPUS={count}, but CUDA_VISIBLE_DEVICES names {len(gpus)}: {remedy}", file=sys.stderr)
        return 2
    children: list[subprocess.Popen[bytes]] = []

    def tell(*_: object) -> None:
        for child in children:
            if child.poll() is None:
                child.terminate()

    signal.signal(signal.SIGTERM, tell)
    signal.signal(signal.SIGINT, tell)
    children += [
        subprocess.Popen(
            bound(python(catalog.find(service).module)),
            env=os.environ
            | {
                "NUM_GPUS": "1",
                "CUDA_VISIBLE_DEVICES": gpus[i],
                "REPLICA": f"{name}-{i}",
                "METRICS_PORT": str(port + i if port else 0),
            },
        )
        for i in range(count)
    ]

    while all(child.poll() is None for child in children):
        time.sleep(0.2)
    tell()
    return max((abs(child.wait()) for child in children), default=0)
