"""`tidegate` as a process: on a data folder, or on a server."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.support.waiting import patience_s
from tidegate.local.server import NatsServer

COMMAND = [sys.executable, "-m", "tidegate"]


def tidegate(
    data: Path, *arguments: str, check: bool = True, settings: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command on the data folder `data`, without our environment's servers and models.

    check: assert that it succeeds. settings: variables of its environment.
    """
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("NATS_", "CV_", "VLM_"))}
    process = _run(environment | {"TIDEGATE_DATA": str(data), **(settings or {})}, None, arguments)
    if check:
        assert process.returncode == 0, process.stderr
    return process


async def tidegate_on(server: NatsServer, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a command as the administrator of `server`, in the folder `cwd`."""
    return await asyncio.to_thread(_run, os.environ | server.environment("admin"), cwd, arguments)


def _run(environment: dict[str, str], cwd: Path | None, arguments: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments],
        env=environment | {"COLUMNS": "200"},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=patience_s(),
        check=False,
    )
