"""A worker process that kills itself at a point between its PubAcks: the next of a plan. Run by test_backfill_chaos.

It degrades some segments at random, so that the same segment may be of another quality when it is redelivered.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import random
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from shared import bus
from shared.bus import direct
from shared.contract.events import Detections
from shared.runtime.settings import BusSettings, load
from shared.runtime.telemetry import Health
from shared.worker import Message, Worker, WorkerSettings
from shared.worker.in_flight import Delivery, InFlight
from tests.support.processes.echo_service import Echo, Job
from tests.support.worlds.backfill import LOW

POINTS = ("job", "event", "ack", "get", "prepare", "revision")


class Plan:
    """folder: its file `plan` has a point a line, of which each process takes one; `killed` lists the reached ones."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._left = random.randint(1, 3)
        with (folder / "lock").open("w") as lock:
            # Of two concurrent starts, one would read the other's half-written file, and a point would be lost.
            fcntl.flock(lock, fcntl.LOCK_EX)
            points = (folder / "plan").read_text().split()
            self._point = points[0] if points else ""
            (folder / "plan").write_text("\n".join(points[1:]))

    def reached(self, point: str) -> None:
        if point == self._point:
            self._left -= 1
        if self._point and not self._left:
            with (self._folder / "killed").open("a") as killed:
                killed.write(f"{point}\n")
            os.kill(os.getpid(), signal.SIGKILL)

    def after(self, work: Callable[..., Awaitable[Any]], point: Callable[..., str]) -> Callable[..., Awaitable[Any]]:
        async def both(*args: Any, **kwargs: Any) -> Any:
            found = await work(*args, **kwargs)
            self.reached(point(*args))
            return found

        return both


class DegradableEcho(Echo):
    def __init__(self, plan: Plan) -> None:
        super().__init__(infer_s=0.01)
        self._plan = plan

    async def prepare(self, message: Message) -> Job:
        job = await super().prepare(message)
        if message.revises:
            self._plan.reached("prepare")
        return job

    def event(self, message: Message, prepared: Job, result: str) -> Detections:
        event = super().event(message, prepared, result)
        is_low = not message.revises and random.random() < 0.6
        return replace(event, quality=LOW) if is_low else event


def _published(client: Any, js: Any, subject: str, *_: object) -> str:
    return "revision" if ".revisions." in subject else "event"


async def main() -> None:
    plan = Plan(Path(os.environ["PLAN"]))
    bus.publish = plan.after(bus.publish, _published)  # type: ignore[assignment]
    bus.defer = plan.after(bus.defer, lambda *_: "job")  # type: ignore[assignment]
    direct.get = plan.after(direct.get, lambda *_: "get")  # type: ignore[assignment]
    acknowledge = InFlight.acknowledge

    async def acknowledged(self: InFlight[Delivery], delivery: Delivery, **more: Any) -> None:
        if delivery.stream == "MEDIA":
            plan.reached("ack")
        await acknowledge(self, delivery, **more)

    InFlight.acknowledge = acknowledged  # type: ignore[method-assign, assignment]
    client = await bus.connect(load(BusSettings), "cv")
    settings = WorkerSettings(batch_size=2, hold=4)
    worker = Worker(
        client, DegradableEcho(plan), settings, Health(), consumers=[("MEDIA", "cv")], backfill="cv-backfill"
    )
    await worker.run(asyncio.Event())


if __name__ == "__main__":
    asyncio.run(main())
