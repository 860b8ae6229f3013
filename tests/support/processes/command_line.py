"""`tidegate` as a process, as people run it."""

from __future__ import annotations

import asyncio
import os
import subprocess
from pathlib import Path

from tests.support.processes.up_process import COMMAND
from tests.support.waiting import patience_s
from tidegate.local.server import NatsServer


async def tidegate(server: NatsServer, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | server.environment("admin") | {"COLUMNS": "200"}
    return await asyncio.to_thread(
        subprocess.run,
        [*COMMAND, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=patience_s(),
        cwd=cwd,
    )
