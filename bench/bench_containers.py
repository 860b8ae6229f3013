"""Cold starts: from `podman run` of each service to its page, to being ready, and to the first thing it does.

    python -m bench.bench_containers [rounds]

The images are on the machine, as on a node that has run them before, and weights are in them. Each round starts every
service once, beside those that give it something to do; the median of the rounds is shown.
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
from shared.contract.search import Query
from shared.contract.topology import TopologySettings, apply
from shared.runtime.errors import TidegateError
from tests import images
from tests.images import Container, Host
from tests.test_webhook import Receiver
from tidegate.demo import footage
from tidegate.demo.bank import Bank
from tidegate.local.server import NatsServer

ROUNDS = 3
POLL_S = 0.02
RULES = b"rules: [{id: somebody, kind: count, over: 0, alert: start}]"

First = Callable[[], Awaitable[object]]


def page(port: int, path: str) -> bool:
    """Whether a page answers 200."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


async def until_page(port: int, path: str) -> None:
    while not await asyncio.to_thread(page, port, path):
        await asyncio.sleep(POLL_S)


async def found(client: Client) -> None:
    """An answer of search that has a moment in it."""
    while True:
        try:
            if (await find.ask(client, Query(text="person"))).moments:
                return
        except TidegateError:
            pass
        await asyncio.sleep(POLL_S)


async def timed(host: Host, service: str, first: First, **more: str) -> tuple[Container, list[float]]:
    """Seconds to its page, to being ready and to the first thing it does."""
    seen = asyncio.ensure_future(first())
    await asyncio.sleep(0)
    began = time.monotonic()
    container = await asyncio.to_thread(lambda: host.start(service, **more))

    async def seconds(of: Awaitable[object]) -> float:
        await of
        return time.monotonic() - began

    pages = (until_page(container.port, path) for path in ("/healthz", "/readyz"))
    return container, list(await asyncio.gather(*map(seconds, (*pages, seen))))


async def one_round(folder: Path) -> dict[str, list[float]]:
    """Each service in the order in which one gives the next something to do."""
    videos = footage.embedded(footage.cache() / f"footage-{footage.VERSION}")
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
        said = {kind: await client.subscribe(names.event(kind, ">")) for kind in ("detections", "embeddings", "tracks")}
        media = await client.subscribe(names.media(">"))

        async def posted() -> None:
            while not receiver.requests:
                await asyncio.sleep(POLL_S)

        async def demand(port: int) -> None:
            await until_page(port, "/demand?service=cv&latencyTarget=2&coldStart=60")

        firsts: list[tuple[str, First, dict[str, str]]] = [
            ("ingest", lambda: media.next_msg(timeout=60), {}),
            ("cv", lambda: said["detections"].next_msg(timeout=60), {}),
            ("embed", lambda: said["embeddings"].next_msg(timeout=60), {}),
            ("webhook", posted, {"WEBHOOK_URL": receiver.url}),
            ("analytics", lambda: said["tracks"].next_msg(timeout=60), {}),
            ("search", lambda: found(client), {}),
            ("scaler", lambda: demand(19091), {"SCALER_HTTP_PORT": "19091"}),
        ]
        try:
            for service, first, more in firsts:
                if service == "webhook":
                    # It has something to do once analytics has: the two are started together.
                    later = asyncio.ensure_future(timed(host, service, first, **more))
                    continue
                _, rows[service] = await timed(host, service, first, **more)
            _, rows["webhook"] = await later
        finally:
            await asyncio.to_thread(host.close)
            await client.close()
            await receiver.stop()
    return rows


async def main(rounds: int) -> None:
    images.engine()
    seen = []
    for n in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            Path(folder).chmod(0o755)
            seen.append(await one_round(Path(folder)))
        print(f"round {n + 1} of {rounds}", flush=True)
    table = Table("service", "image", "its page", "ready", "what it does first", title="seconds from `podman run`")
    for service in seen[0]:
        medians = [statistics.median(r[service][k] for r in seen) for k in range(3)]
        table.add_row(service, images.SERVICES[service], *(f"{m:.1f}" for m in medians))
    Console(width=100).print(table)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS))
