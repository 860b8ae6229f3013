"""A worker process that a certain message kills, as a decoder's crash would. Run by test_worker."""

from __future__ import annotations

import asyncio
import os

from shared import bus
from shared.settings import BusSettings, load
from shared.telemetry import Health
from shared.worker import Message, Worker, WorkerSettings
from tests.test_worker import Echo, Job


class Fragile(Echo):
    async def prepare(self, message: Message) -> Job:
        if message.data == b"deadly":
            os._exit(139)
        return await super().prepare(message)


async def main() -> None:
    client = await bus.connect(load(BusSettings), "cv")
    settings = WorkerSettings(batch_size=4, hold=8)
    await Worker(client, Fragile(infer_s=0.02), settings, Health(), stream="MEDIA", consumer="cv").run(asyncio.Event())


if __name__ == "__main__":
    asyncio.run(main())
