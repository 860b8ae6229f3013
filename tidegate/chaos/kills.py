"""`tidegate chaos` without `--each`: kills workers of one service, and the server, under a full backlog.

Each acknowledged segment must have exactly one event of the service at the end.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import random
import secrets
import signal
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Literal

import msgspec
import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from rich.console import Console
from rich.table import Table

from shared import bus
from shared.client import dlq
from shared.contract import names
from shared.contract.events import Detections, Embeddings
from shared.contract.segment import to_headers
from shared.contract.work import stats
from shared.runtime import child
from shared.runtime.tasks import end
from tidegate.chaos.follower import Follower
from tidegate.chaos.ledger import Ledger
from tidegate.chaos.world import RESTART
from tidegate.demo import clips, footage
from tidegate.local.scaling.replicas import Replicas
from tidegate.local.server import NatsServer
from tidegate.view.screen import Screen

# Maximum age of a heartbeat for a worker that counts as busy.
FRESH_S = 1.6
DRAIN_TIMEOUT_S = 180.0
# One frame per segment: the test is about delivery, not about models.
SETTINGS = {"CV_FPS": "1", "EMBED_FPS": "1"}
KINDS = {"cv": Detections.kind, "embed": Embeddings.kind}


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """The faults and the load. backlog: pending segments, so that every worker always has some in flight.

    seed: of the choice of victims.
    """

    service: Literal["cv", "embed"] = "cv"
    kills: int = 20
    terms: int = 6
    restarts: int = 2
    workers: int = 3
    backlog: int = 20
    cameras: int = 6
    pause_s: float = 2.0
    seed: int = 1


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """Counts of segments. without: no event. repeated: several events. unknown: events without a segment."""

    acknowledged: int
    stored: int
    events: int
    without: int
    repeated: int
    unknown: int
    dead: int
    redelivered: int
    kills: int
    terms: int
    restarts: int
    seconds: float

    @property
    def is_exact(self) -> bool:
        return not (self.without or self.repeated or self.unknown or self.dead) and self.acknowledged > 0


def run(plan: Plan) -> int:
    """Run the plan and print the counts. Return 0 if every segment has exactly one event."""
    out = Screen()
    with tempfile.TemporaryDirectory(prefix="tidegate-chaos-") as folder:
        outcome = asyncio.run(run_plan(plan, Path(folder), out))
    table = Table("count", "segments")
    for label, value in (
        ("acknowledged by JetStream", outcome.acknowledged),
        (f"with exactly one event of {plan.service}", outcome.events - outcome.repeated),
        ("without any", outcome.without),
        ("with more than one", outcome.repeated),
        ("dead-lettered", outcome.dead),
        ("delivered more than once", outcome.redelivered),
    ):
        table.add_row(label, str(value))
    out.print(table)
    out.print(
        f"{outcome.kills} x kill -9 of a worker, {outcome.terms} x SIGTERM of a worker, "
        f"{outcome.restarts} x kill -9 of the server, in {outcome.seconds:.0f} s: "
        + ("[green]exactly one event each[/]" if outcome.is_exact else "[red]not exact[/]")
    )
    return 0 if outcome.is_exact else 1


async def run_plan(plan: Plan, folder: Path, out: Console) -> Outcome:
    """Run the plan on a separate server and workers, with data in `folder`."""
    started = time.monotonic()
    video = footage.embedded()[0]
    async with NatsServer(folder / "nats") as server:
        client = await bus.connect(server.settings("admin"), "admin")
        follower = Follower(client, Ledger(), KINDS[plan.service])
        following = asyncio.create_task(follower.run_results())
        try:
            await server.set_up(client)
            workers = Replicas(
                plan.service,
                child.python(f"services.{plan.service}"),
                server.environment(plan.service) | SETTINGS,
                folder / "logs",
                backoff=RESTART,
            )
            heartbeats = await _subscribe(client, plan.service)
            await workers.scale_to(plan.workers)
            load = _Load(client, video, plan)
            publishing = asyncio.create_task(load.run())
            try:
                injected = await _inject_faults(plan, server, heartbeats, out)
            finally:
                load.stop.set()
                await publishing
            await _drain(client, plan.service, follower, out)
            await workers.close()
            counts = await _count(client, plan.service, follower.ledger, load.acknowledged)
        finally:
            await end(following)
            await client.close()
    return Outcome(
        **counts,
        kills=injected["kill"],
        terms=injected["term"],
        restarts=injected["restart"],
        seconds=time.monotonic() - started,
    )


class _Load:
    """Keeps the plan's backlog pending until `stop`. acknowledged: sequences from PubAcks."""

    def __init__(self, client: Client, video: Path, plan: Plan) -> None:
        self.stop = asyncio.Event()
        self.acknowledged: list[int] = []
        self._client = client
        self._js = client.jetstream()
        self._pieces = [p for p in clips.pieces(video, "chaos-0") if not p.dependent]
        self._plan = plan
        self._epoch = secrets.token_hex(4)

    async def run(self) -> None:
        while not self.stop.is_set():
            for _ in range(await self._shortfall()):
                await self._publish()
            await asyncio.sleep(0.1)

    async def _shortfall(self) -> int:
        try:
            info = await self._js.consumer_info(names.MEDIA, self._plan.service)
        except (TimeoutError, nats.errors.Error):  # the server is being restarted
            return 1
        return max(0, self._plan.backlog - (info.num_pending or 0))

    async def _publish(self) -> None:
        n = len(self.acknowledged)
        piece = self._pieces[n % len(self._pieces)]
        header = msgspec.structs.replace(
            piece.segment,
            camera=f"chaos-{n % self._plan.cameras}",
            epoch=self._epoch,
            n=n // self._plan.cameras,
            start=dt.datetime.now(dt.UTC),
        )
        ack = await bus.publish(self._client, self._js, names.media(header.camera), piece.payload, to_headers(header))
        self.acknowledged.append(ack.seq)


class _Heartbeats:
    """The latest heartbeat of each worker: its time and pid, by replica."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[float, int]] = {}

    async def on_message(self, message: Msg) -> None:
        heartbeat = stats.decode(message.data)
        if heartbeat.state == "ready" and heartbeat.in_flight:
            self._last[heartbeat.replica] = (time.monotonic(), heartbeat.pid)

    def busy_pids(self) -> list[int]:
        return [pid for at, pid in self._last.values() if time.monotonic() - at < FRESH_S and _is_alive(pid)]


async def _subscribe(client: Client, service: str) -> _Heartbeats:
    heartbeats = _Heartbeats()
    await client.subscribe(names.stats(service, ">"), cb=heartbeats.on_message)
    return heartbeats


async def _inject_faults(plan: Plan, server: NatsServer, heartbeats: _Heartbeats, out: Console) -> Counter[str]:
    """Inject all faults of the plan in a random order, each while a worker has segments in flight."""
    rng = random.Random(plan.seed)  # noqa: S311 - a repeatable choice of victims
    faults = ["kill"] * plan.kills + ["term"] * plan.terms + ["restart"] * plan.restarts
    rng.shuffle(faults)
    injected: Counter[str] = Counter()
    for i, fault in enumerate(faults, 1):
        await asyncio.sleep(plan.pause_s * rng.uniform(0.5, 1.5))
        if fault == "restart":
            await server.restart(signal.SIGKILL)
        else:
            pid = rng.choice(await _victims(heartbeats))
            os.kill(pid, signal.SIGKILL if fault == "kill" else signal.SIGTERM)
        injected[fault] += 1
        out.print(f"{i:>3}/{len(faults)} {fault}", style="dim")
    return injected


async def _victims(heartbeats: _Heartbeats) -> list[int]:
    async with asyncio.timeout(60):
        while not (pids := heartbeats.busy_pids()):
            await asyncio.sleep(0.1)
    return pids


async def _drain(client: Client, service: str, follower: Follower, out: Console) -> None:
    """Wait until nothing is pending or in flight, and all events are counted."""
    js = client.jetstream()
    deadline = time.monotonic() + DRAIN_TIMEOUT_S
    idle = 0
    while idle < 3 and time.monotonic() < deadline:
        info = await js.consumer_info(names.MEDIA, service)
        idle = idle + 1 if not (info.num_pending or info.num_ack_pending) else 0
        out.print(f"settling: {info.num_pending} pending, {info.num_ack_pending} in flight", style="dim")
        await asyncio.sleep(1.0)
    newest = await js.get_last_msg(names.EVENTS, names.event(KINDS[service], ">"))
    while follower.events < (newest.seq or 0) and time.monotonic() < deadline:
        await asyncio.sleep(0.1)


async def _count(client: Client, service: str, ledger: Ledger, acknowledged: list[int]) -> dict[str, int]:
    js = client.jetstream()
    dead = {letter.stream_seq async for letter in dlq.entries(client, service) if letter.stream == names.MEDIA}
    info = await js.consumer_info(names.MEDIA, service)
    delivered = info.delivered.consumer_seq if info.delivered else 0
    # MEDIA may have expired the oldest, and stores nothing else here: its last sequence is the number of segments.
    stored = (await js.stream_info(names.MEDIA)).state.last_seq
    return {
        "acknowledged": len(set(acknowledged)),
        "stored": stored,
        "events": len(ledger.events),
        "without": len(set(acknowledged) - ledger.events.keys() - dead),
        "repeated": ledger.twice,
        "unknown": sum(not 0 < seq <= stored for seq in ledger.events),
        "dead": len(dead),
        "redelivered": max(0, delivered - stored),
    }


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
