"""A nats-server that may have few files open, as a process of its own."""

from __future__ import annotations

import asyncio
import resource
import sys
from pathlib import Path

from shared import bus
from tidegate.local.server import NatsServer

# Of files that a process may have open: what some machines allow.
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
