"""The scaler as a process of its own, on one port over restarts."""

from __future__ import annotations

import asyncio
import re
import signal
from pathlib import Path

from tests.support.processes.service_process import ServiceProcess
from tests.support.waiting import patience_s
from tidegate.local.server import NatsServer


class ScalerProcess:
    """`python -m services.scaler` on one port, however often it is started."""

    def __init__(self, server: NatsServer, folder: Path, http_port: int = 0) -> None:
        self._server, self._folder, self._http_port = server, folder, http_port
        self.port = 0

    async def start(self) -> None:
        ports = {"SCALER_HTTP_PORT": str(self._http_port), "SCALER_PORT": str(self.port)}
        self._service = ServiceProcess("scaler", self._server.environment("scaler"), self._folder, **ports)
        async with asyncio.timeout(patience_s()):
            while not (ready := re.search(r'"address": ?"127.0.0.1:(\d+)"', self._service.log)):
                assert self._service.process.poll() is None, self._service.log
                await asyncio.sleep(0.05)
        self.port = int(ready[1])

    @property
    def log(self) -> str:
        return self._service.log

    async def stop(self, sig: signal.Signals = signal.SIGTERM) -> None:
        self._service.process.send_signal(sig)
        await self._service.ended()

    async def kill(self) -> None:
        await self.stop(signal.SIGKILL)
