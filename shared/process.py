"""A service's process: signals, exit codes, and one worker process a GPU.

The first SIGTERM or Ctrl-C sets `stop`, and the service drains; the second ends the process at once.
Exit codes: 0 drained, 1 failed, 2 bad configuration, 70 the device is stuck.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from shared import telemetry
from shared.errors import ModelError, SettingError, TidegateError
from shared.settings import BusSettings

S = TypeVar("S", bound=BusSettings)


def main(service: str, settings: S, run: Callable[[S, asyncio.Event], Awaitable[None]], *, per_gpu: int = 1) -> None:
    """Run a service to its end and exit. per_gpu: worker processes, each seeing one GPU; this one watches them."""
    if per_gpu > 1:
        raise SystemExit(_watch(service, per_gpu))
    telemetry.configure(settings, service)
    log = telemetry.logger(service)
    try:
        asyncio.run(_until_told(settings, run))
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


async def _until_told(settings: S, run: Callable[[S, asyncio.Event], Awaitable[None]]) -> None:
    stop = asyncio.Event()

    def told() -> None:
        if stop.is_set():
            os._exit(1)
        stop.set()

    loop = asyncio.get_running_loop()
    for sig in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(sig, told)
    await run(settings, stop)


def _exit(code: int) -> None:
    """Threads of a device or a camera that hang must not keep a drained process alive."""
    sys.stderr.flush()
    os._exit(code)


def _watch(service: str, count: int) -> int:
    """One child a GPU. When one ends the others are told to drain, and whoever runs us starts us again."""
    name = os.environ.get("REPLICA", f"{service}-0")
    port = int(os.environ.get("METRICS_PORT") or 0)
    children = [
        subprocess.Popen(
            [sys.executable, "-m", f"services.{service}"],
            env=os.environ
            | {
                "NUM_GPUS": "1",
                "CUDA_VISIBLE_DEVICES": str(i),
                "REPLICA": f"{name}-{i}",
                "METRICS_PORT": str(port + i if port else 0),
            },
        )
        for i in range(count)
    ]

    def tell(*_: object) -> None:
        for child in children:
            if child.poll() is None:
                child.terminate()

    signal.signal(signal.SIGTERM, tell)
    signal.signal(signal.SIGINT, tell)
    while all(child.poll() is None for child in children):
        time.sleep(0.2)
    tell()
    return max((abs(child.wait()) for child in children), default=0)
