"""The cost of durability: one server and three, which sync periodically or before each acknowledgement.

    python -m bench.bench_durability [seconds a turn]

Segments of 300 KB into MEDIA and events of 1 KB into EVENTS, 16 in flight, as in ingest. The four kinds alternate, each
with its own store in the temporary folder. The reference is one server that syncs every two minutes. Three servers on
one machine share its disk and cores; yours may not.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple
from unittest import mock

from nats.js import JetStreamContext
from rich.console import Console
from rich.table import Table

from bench import record
from shared import bus
from shared.contract import names
from tidegate.local.cluster import NatsCluster
from tidegate.local.server import NatsServer

SECONDS = 5.0
ROUNDS = 3
IN_FLIGHT = 16
MESSAGES = {"segments": (names.media("bench"), bytes(300_000)), "events": ("events.detections.bench", bytes(1000))}


class Storage(NamedTuple):
    """A storage setup. servers: one or three. sync_s: seconds between syncs; 0 syncs before each acknowledgement."""

    servers: int
    sync_s: str

    def __str__(self) -> str:
        what = "one server" if self.servers == 1 else "three servers"
        return what + (", each synced" if self.sync_s == "0" else "")


BASELINE = Storage(1, "120")
KINDS = (BASELINE, Storage(1, "0"), Storage(3, "120"), Storage(3, "0"))


@asynccontextmanager
async def serving(storage: Storage) -> AsyncIterator[JetStreamContext]:
    """Yield all streams on servers of that kind."""
    with mock.patch.dict(os.environ, STORE_SYNC_S=storage.sync_s), tempfile.TemporaryDirectory() as name:
        async with NatsServer(Path(name)) if storage.servers == 1 else NatsCluster(Path(name)) as nats:
            admin = await bus.connect(nats.settings("admin"), "admin")
            await nats.set_up(admin)
            yield admin.jetstream()
            await admin.close()


async def rate(js: JetStreamContext, subject: str, payload: bytes, seconds: float) -> float:
    """Return the acknowledged messages per second."""
    until, done = time.perf_counter() + seconds, 0

    async def publish() -> None:
        nonlocal done
        while time.perf_counter() < until:
            await js.publish(subject, payload, timeout=30)
            done += 1

    started = time.perf_counter()
    await asyncio.gather(*(publish() for _ in range(IN_FLIGHT)))
    return done / (time.perf_counter() - started)


async def main(out: Console, seconds: float) -> None:
    found: dict[tuple[Storage, str], list[float]] = defaultdict(list)
    for _, storage in itertools.product(range(ROUNDS), KINDS):
        async with serving(storage) as js:
            for what, (subject, payload) in MESSAGES.items():
                found[storage, what].append(await rate(js, subject, payload, seconds))
        out.print(f"[dim]{storage}: " + ", ".join(f"{found[storage, w][-1]:.0f} {w}/s" for w in MESSAGES))
    medians = {key: statistics.median(rates) for key, rates in found.items()}
    table = Table("acknowledged by", "segments/s of 300 KB", "ratio", "events/s of 1 KB", "ratio")
    for storage in KINDS:
        cells = [(medians[storage, what], medians[storage, what] / medians[BASELINE, what]) for what in MESSAGES]
        table.add_row(str(storage), *(text for speed, ratio in cells for text in (f"{speed:.0f}", f"{ratio:.2f}")))
    out.print(f"{IN_FLIGHT} on their way at a time, {ROUNDS} turns of {seconds:g} s each")
    out.print(table)
    ratios = {f"{k}, {what}": m / medians[BASELINE, what] for (k, what), m in medians.items() if k != BASELINE}
    record.write("durability", higher=ratios, figures={f"{k}, {what}/s": m for (k, what), m in medians.items()})


if __name__ == "__main__":
    asyncio.run(main(Console(width=110), float(sys.argv[1]) if len(sys.argv) > 1 else SECONDS))
