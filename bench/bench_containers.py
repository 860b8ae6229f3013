"""Cold starts: from `podman run` of each service to its health page, to readiness, and to its first output.

    python -m bench.bench_containers [rounds]

The images, with weights, are on the machine, as on a node that has run them before. Each round starts every service
once, next to those that supply its input; the table shows the median of the rounds.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable
from pathlib import Path

from nats.aio.client import Client
from rich.console import Console
from rich.table import Table

from shared import bus
from shared.client import find, registry, rules
from shared.contract import names
from shared.contract import rules as book
from shared.contract.cameras import new_camera
from shared.contract.questions.search import Query
from shared.contract.topology import TopologySettings, apply
from shared.runtime.errors import TidegateError
from tests.support.processes import images
from tests.support.processes.images import Container, Host
from tests.support.worlds.webhook_world import Receiver
from tidegate.demo import footage
from tidegate.demo.bank import Bank
from tidegate.local.server import NatsServer

ROUNDS = 3
POLL_S = 0.02
RULES = b"rules: [{id: somebody, kind: count, over: 0, alert: start}]"

First = Callable[[], Awaitable[object]]


def page(port: int, path: str) -> bool:
    """Return whether a page answers 200."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


async def until_page(port: int, path: str) -> None:
    while not await asyncio.to_thread(page, port, path):
        await asyncio.sleep(POLL_S)


async def search_answers(client: Client) -> None:
    """Wait for an answer of search with a moment in it."""
    while True:
        try:
            if (await find.ask(client, Query(text="person"))).moments:
                return
        except TidegateError:
            pass
        await asyncio.sleep(POLL_S)


async def measure(host: Host, service: str, first: First, **more: str) -> tuple[Container, list[float]]:
    """Start a service. Return it with the seconds to its health page, to readiness and to its first output."""
    output = asyncio.ensure_future(first())
    await asyncio.sleep(0)
    began = time.monotonic()
    container = await asyncio.to_thread(lambda: host.start(service, **more))

    async def seconds(of: Awaitable[object]) -> float:
        await of
        return time.monotonic() - began

    pages = (until_page(container.port, path) for path in ("/healthz", "/readyz"))
    return container, list(await asyncio.gather(*map(seconds, (*pages, output))))


async def one_round(folder: Path) -> dict[str, list[float]]:
    """Start each service in the order in which one supplies the next one's input."""
    videos = footage.embedded()
    rows = {}
    async with NatsServer(folder / "nats") as server, Bank(videos, folder / "bank") as bank:
        receiver = Receiver()
        await receiver.start()
        client = await bus.connect(server.settings("admin"), "admin")
        await apply(client.jetstream(), TopologySettings())
        for n, video in enumerate(videos[:2]):
            await registry.put(client.jetstream(), f"cam-{n}", *new_camera(bank.url(video.name), always=True))
            await rules.put(client, f"cam-{n}", book.read(RULES, "bench"))
        host = Host(images.engine(), server, folder)
        subscriptions = {
            kind: await client.subscribe(names.event(kind, ">")) for kind in ("detections", "embeddings", "tracks")
        }
        media = await client.subscribe(names.media(">"))

        async def webhook_called() -> None:
            while not receiver.requests:
                await asyncio.sleep(POLL_S)

        async def demand(port: int) -> None:
            await until_page(port, "/demand?service=cv&latencyTarget=2&coldStart=60")

        firsts: list[tuple[str, First, dict[str, str]]] = [
            ("ingest", lambda: media.next_msg(timeout=60), {}),
            ("cv", lambda: subscriptions["detections"].next_msg(timeout=60), {}),
            ("embed", lambda: subscriptions["embeddings"].next_msg(timeout=60), {}),
            ("webhook", webhook_called, {"WEBHOOK_URL": receiver.url}),
            ("analytics", lambda: subscriptions["tracks"].next_msg(timeout=60), {}),
            ("search", lambda: search_answers(client), {}),
            ("scaler", lambda: demand(19091), {"SCALER_HTTP_PORT": "19091"}),
        ]
        try:
            for service, first, more in firsts:
                if service == "webhook":
                    # Its input comes from analytics, so the two start together.
                    later = asyncio.ensure_future(measure(host, service, first, **more))
                    continue
                _, rows[service] = await measure(host, service, first, **more)
            _, rows["webhook"] = await later
        finally:
            await asyncio.to_thread(host.close)
            await client.close()
            await receiver.stop()
    return rows


async def main(rounds: int) -> None:
    images.engine()
    rounds_rows = []
    for n in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            Path(folder).chmod(0o755)
            rounds_rows.append(await one_round(Path(folder)))
        print(f"round {n + 1} of {rounds}", flush=True)
    table = Table("service", "image", "its page", "ready", "what it does first", title="seconds from `podman run`")
    for service in rounds_rows[0]:
        medians = [statistics.median(r[service][k] for r in rounds_rows) for k in range(3)]
        table.add_row(service, images.SERVICES[service], *(f"{m:.1f}" for m in medians))
    Console(width=100).print(table)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS))
