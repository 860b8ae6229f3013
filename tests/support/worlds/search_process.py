"""Search as a process, and waits for its index."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.support.waiting import patience_s
from tidegate.local.server import NatsServer


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(patience_s()):
        while not await asyncio.to_thread(true):
            await asyncio.sleep(0.05)


class Process:
    """The service as a process, with the identity `search`."""

    def __init__(self, server: NatsServer, folder: Path, log: Path, **env: str) -> None:
        own = {"SEARCH_INDEX": str(folder), "SEARCH_BATCH_SIZE": "8", "SEARCH_BATCH_WAIT_MS": "20", **env}
        self._popen = subprocess.Popen(
            [sys.executable, "-m", "services.search"],
            env=os.environ | server.environment("search") | own,
            stderr=log.open("ab"),
        )

    @property
    def pid(self) -> int:
        return self._popen.pid

    def end(self, how: signal.Signals) -> int:
        self._popen.send_signal(how)
        return self._popen.wait(patience_s())
