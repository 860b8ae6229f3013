"""A service as a process of its own, as its operator sees it: its log, its probes, its exit code."""

from __future__ import annotations

import asyncio
import os
import re
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from shared.contract import catalog
from shared.runtime import child
from tests.support.waiting import patience_s


class ServiceProcess:
    """service: its name in the catalog. at: the variables with the address of NATS and the identity."""

    def __init__(self, service: str, at: Mapping[str, str], folder: Path, **env: str) -> None:
        record = catalog.find(service)
        self.service = service
        self._log = folder / f"{service}-{len(list(folder.iterdir()))}.log"
        settings = {"METRICS_PORT": "0", "LOG_FORMAT": "json"}
        self.process = child.spawn(
            child.python(record.module),
            log=self._log,
            env={**os.environ, **at, **record.environment, **settings, **env},
        )

    @property
    def log(self) -> str:
        return self._log.read_text()

    async def says(self, probe: str) -> str:
        """Its answer on `/readyz` or `/healthz`; "" while it serves none."""
        return await asyncio.to_thread(self._says, probe)

    def _says(self, probe: str) -> str:
        if not (served := re.findall(r"(http://[^\"]+)/metrics", self.log)):
            return ""
        try:
            with urllib.request.urlopen(f"{served[-1]}{probe}", timeout=patience_s()) as answer:
                return str(answer.read().decode()).strip()
        except urllib.error.HTTPError as e:
            return e.read().decode().strip()
        except OSError:  # it has just ended
            return ""

    async def until_it_says(self, probe: str, pattern: str) -> None:
        """Raises AssertionError if it ends before that, TimeoutError if it never answers so."""
        async with asyncio.timeout(patience_s()):
            while not re.search(pattern, await self.says(probe)):
                assert self.process.poll() is None, f"exit code {self.process.returncode}: {self.log[-600:]}"
                await asyncio.sleep(0.1)

    async def ended(self) -> int:
        """Its exit code, once it has ended by itself."""
        return await asyncio.to_thread(self.process.wait, patience_s())

    async def end(self) -> int:
        """Its exit code after SIGTERM."""
        self.process.terminate()
        return await self.ended()
