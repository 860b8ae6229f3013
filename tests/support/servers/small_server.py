"""A nats-server with a low limit of open files, as a process of its own."""

from __future__ import annotations

import asyncio
import resource
import sys
from pathlib import Path

from shared import bus
from tidegate.local.server import NatsServer

# The limit of open files on some machines.
FEW = 512


def serve(data: str) -> None:
    """Run a server with few files until the end of our input."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (FEW, FEW))

    async def run() -> None:
        async with NatsServer(Path(data)) as server:
            admin = await bus.connect(server.settings("admin"), "admin")
            await server.set_up(admin)
            await admin.close()
            print(server.url, flush=True)
            await asyncio.to_thread(sys.stdin.read)

    asyncio.run(run())
