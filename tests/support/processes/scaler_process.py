"""The scaler as a process of its own, on one port over restarts."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

from tests.support.waiting import patience_s
from tidegate.local.server import NatsServer


class ScalerProcess:
    """`python -m services.scaler` on one port, however often it is started."""

    def __init__(self, server: NatsServer, log: Path, http_port: int = 0) -> None:
        self._env = os.environ | server.environment("scaler") | {"SCALER_HTTP_PORT": str(http_port)}
        self._log = log
        self.port = 0

    async def start(self) -> None:
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "services.scaler"],
                env=self._env | {"SCALER_PORT": str(self.port)},
                stderr=log,
            )
        async with asyncio.timeout(patience_s()):
            while not (ready := re.search(r"address=127.0.0.1:(\d+)", self._log.read_text())):
                assert self._process.poll() is None, self._log.read_text()
                await asyncio.sleep(0.05)
        self.port = int(ready[1])

    async def stop(self, sig: signal.Signals = signal.SIGTERM) -> None:
        self._process.send_signal(sig)
        await asyncio.to_thread(self._process.wait, 20)

    async def kill(self) -> None:
        await self.stop(signal.SIGKILL)
