"""A worker of captions, or the front that plans them, which kills itself at a point: the next of a plan.

Run by test_vlm_degraded_captions. A worker shows fewer frames of some captions, by chance, so that
the same job may be of another quality when it comes again.
"""

from __future__ import annotations

import asyncio
import os
import random
from pathlib import Path
from typing import Any

import services.vlm.__main__ as vlm
from services.vlm import app
from services.vlm.endpoints.openai import ModelEndpoint
from services.vlm.service import Task, VlmService
from services.vlm.settings import VlmSettings
from shared import bus
from shared.elastic.levels import LEVELS, Level
from shared.runtime.settings import BusSettings, load
from shared.runtime.telemetry import Health
from shared.worker import Message
from shared.worker.extensions.effort import Effort
from shared.worker.in_flight import Delivery, InFlight
from tests.support.processes.crashing_backfill import Plan

WORKER = ("taken", "shown", "answered", "event", "ack")
FRONT = ("job", "ack")


def by_chance(self: Effort, message: Message, high: bool) -> Level:
    return random.choice(LEVELS)


async def main() -> None:
    plan, settings = Plan(Path(os.environ["PLAN"])), load(VlmSettings)
    is_front = settings.vlm_mode == "front"
    prepare, acknowledge = VlmService.prepare, InFlight.acknowledge

    async def prepared(self: VlmService, message: Message) -> Task:
        plan.reached("taken")
        task = await prepare(self, message)
        plan.reached("shown")
        return task

    async def acknowledged(self: InFlight[Delivery], delivery: Delivery, **more: Any) -> None:
        plan.reached("ack")
        await acknowledge(self, delivery, **more)

    Effort.level = by_chance  # type: ignore[method-assign]
    VlmService.prepare = prepared  # type: ignore[method-assign]
    InFlight.acknowledge = acknowledged  # type: ignore[method-assign, assignment]
    ModelEndpoint.complete = plan.after(ModelEndpoint.complete, lambda *_: "answered")  # type: ignore[method-assign]
    bus.publish = plan.after(bus.publish, lambda *_: "event")  # type: ignore[assignment]
    bus.publish_job = plan.after(bus.publish_job, lambda *_: "job")  # type: ignore[assignment]
    client = await bus.connect(load(BusSettings), "vlm-front" if is_front else "vlm")
    await (app.run_front if is_front else vlm.run)(settings, client, Health(), asyncio.Event())


if __name__ == "__main__":
    asyncio.run(main())
