"""`tidegate audit` as a process, and history for it to read."""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from typing import Any

import numpy as np
from nats.aio.client import Client

from shared.contract import names
from shared.contract.work.usage import MINUTE_S, CameraUsage, IngestUsage, WorkerUsage, encode
from tests.support.processes.command_line import COMMAND
from tidegate.local.server import NatsServer


async def run(server: NatsServer, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | server.environment("admin") | {"TZ": "UTC"}
    return await asyncio.to_thread(
        subprocess.run, [*COMMAND, *arguments], env=environment, capture_output=True, text=True, timeout=400
    )


async def keep(admin: Client, minutes: int, *, works: bool = True) -> tuple[list[int], int]:
    """Publish the reports of workers and ingest for `minutes` minutes, up to now; messages of each, and this minute."""
    now = int(time.time()) // MINUTE_S
    first = now - minutes
    at = np.arange(first, now)
    rates = 1 + 3 * (np.sin(at / 1440 * 2 * np.pi) > 0.5)
    counts = np.random.default_rng(1).poisson(rates * 60)
    js = admin.jetstream()
    for n, since in enumerate(range(first, now, 10)):
        until = min(since + 10, now)
        arrivals = {m: int(counts[m - first]) for m in range(since, until)}
        done = sum(arrivals.values())
        spent: dict[str, Any] = {"processed": done, "working_s": done / 2, "unchanged": done // 4} if works else {}
        usage = WorkerUsage(
            process="w",
            n=n,
            since=since * MINUTE_S,
            until=until * MINUTE_S - 1,
            arrivals={"cv": arrivals},
            loading_s=4.0 if works and not n else None,
            is_last=until == now,
            **spent,
        )
        await js.publish(names.usage("cv"), encode(usage))
    sent = CameraUsage(first=first, segments=[7] * minutes, seconds=7 * minutes, megabytes=3500.0, frames=1)
    of = IngestUsage(
        process="i", n=0, since=first * MINUTE_S, until=now * MINUTE_S - 1, cameras={"gate": sent}, is_last=True
    )
    await js.publish(names.usage("ingest"), encode(of))
    return counts.tolist(), now
