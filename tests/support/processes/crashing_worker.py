"""A worker process that a certain message kills, as a decoder's crash would, or whose device is broken.

Run by test_worker; DEVICE=broken chooses the second.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence

from shared import bus
from shared.runtime.settings import BusSettings, load
from shared.runtime.telemetry import Health
from shared.worker import Message, Worker, WorkerSettings
from tests.support.processes.echo_service import Echo, Job


class Fragile(Echo):
    async def prepare(self, message: Message) -> Job:
        if message.data == b"deadly":
            os._exit(139)
        return await super().prepare(message)

    def infer(self, batch: Sequence[Job]) -> list[str]:
        if os.environ.get("DEVICE") == "broken":
            raise RuntimeError("an illegal memory access was encountered")
        return super().infer(batch)


async def main() -> None:
    client = await bus.connect(load(BusSettings), "cv")
    settings = WorkerSettings(batch_size=4, hold=8)
    await Worker(client, Fragile(infer_s=0.02), settings, Health(), consumers=[("MEDIA", "cv")]).run(asyncio.Event())


if __name__ == "__main__":
    asyncio.run(main())
