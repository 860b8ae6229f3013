"""Features that must work across accounts: slow answers, discovery, several answers, monitoring, and large messages."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from pathlib import Path

import msgspec
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from shared import bus
from shared.bus import requests
from shared.bus.publish import header_bytes
from shared.contract import names
from shared.contract.questions.explain import Explanations
from shared.runtime import child
from shared.runtime.ports import free_port, takes_connections
from tests.support.waiting import patience_s, until
from tidegate.local.server import NatsServer, find_executable

# The default of an export and of `allow_responses`.
USUAL_S = 120.0


@pytest.mark.slow
async def test_an_answer_may_take_longer_than_the_servers_default(server: NatsServer) -> None:
    """A question waits for the start of a replica. The server's own limits for answers are two minutes."""
    asker = await bus.connect(server.settings("asker"), "asker")
    front = await bus.connect(server.settings("vlm-front"), "vlm-front")

    async def answer(message: Msg) -> None:
        await asyncio.sleep(USUAL_S + 5)
        await message.respond(b"late")

    await front.subscribe(names.ASK, cb=answer)
    await front.flush()
    try:
        assert (await asker.request(names.ASK, b"?", timeout=USUAL_S + patience_s())).data == b"late"
    finally:
        await asker.close()
        await front.close()


async def test_replicas_are_found_and_counted_by_name(server: NatsServer, admin: Client) -> None:
    """All replicas of each service answer; without a name, a client of one service finds that one."""
    embed = [await bus.connect(server.settings("embed"), "embed") for _ in range(2)]
    search = await bus.connect(server.settings("search"), "search")
    finder = await bus.connect(server.settings("finder"), "finder")

    async def nothing(payload: bytes) -> tuple[bytes, dict[str, str]]:
        return b"", {}

    running = [await requests.serve(c, names.micro("embed"), "x", {"text": (names.EMBED_TEXT, nothing)}) for c in embed]
    running.append(await requests.serve(search, names.micro("search"), "x", {"find": (names.FIND, nothing)}))

    async def found(client: Client, subject: str, least: int) -> set[str]:
        ids: set[str] = set()

        async def hear(message: Msg) -> None:
            ids.add(json.loads(message.data)["id"] if message.data else "nobody")

        inbox = client.new_inbox()
        listening = await client.subscribe(inbox, cb=hear)
        await client.publish(subject, reply=inbox)
        await until(lambda: len(ids) >= least)
        await listening.unsubscribe()
        return ids

    try:
        assert await found(admin, "$SRV.PING.tidegate-embed", 2) == {service.id for service in running[:2]}
        assert await found(admin, "$SRV.STATS.tidegate-search", 1) == {running[2].id}
        assert await found(finder, "$SRV.PING", 1) == {running[2].id}
        assert await found(finder, f"$SRV.INFO.tidegate-search.{running[2].id}", 1) == {running[2].id}
    finally:
        for service in running:
            await service.stop()
        for client in (*embed, search, finder):
            await client.close()


async def test_every_scaler_explains(server: NatsServer, admin: Client) -> None:
    """`tidegate explain` waits a moment for other scalers; this test waits until they answer."""
    by: set[str] = set()

    async def hear(message: Msg) -> None:
        by.add(requests.read(message, Explanations).by)

    scalers = [await bus.connect(server.settings("scaler"), "scaler") for _ in range(2)]
    for n, client in enumerate(scalers):

        async def answer(message: Msg, by: str = f"scaler-{n}") -> None:
            await message.respond(msgspec.json.encode(Explanations(by=by, services=["cv"], found=[])))

        await client.subscribe(names.explain("*"), cb=answer)
        await client.flush()
    try:
        inbox = admin.new_inbox()
        await admin.subscribe(inbox, cb=hear)
        await admin.publish(names.explain("cv"), reply=inbox)
        await until(lambda: by == {"scaler-0", "scaler-1"})
    finally:
        for client in scalers:
            await client.close()


async def test_keda_reads_the_pending_count_of_the_account(server: NatsServer, admin: Client, tmp_path: Path) -> None:
    """KEDA's own scaler requests one account by its name from the monitoring port."""
    await admin.jetstream().publish(names.media("lobby"), b"video")
    await server.stop()
    port = free_port(0)
    config = tmp_path / "monitored.conf"
    config.write_text(f"http: 127.0.0.1:{port}\n{(tmp_path / 'nats' / 'secrets' / 'nats.conf').read_text()}")
    monitored = child.spawn([find_executable(), "-c", str(config)], log=tmp_path / "log")
    url = f"http://127.0.0.1:{port}/jsz?acc=TIDEGATE&consumers=true&config=true"
    try:
        async with asyncio.timeout(patience_s()):
            while not await takes_connections(port):
                await asyncio.sleep(0.02)
            # The page exists before the streams, and a stream before its consumers.
            pending: dict[str, int] = {}
            while "cv" not in pending:
                page = await asyncio.to_thread(lambda: json.load(urllib.request.urlopen(url, timeout=patience_s())))
                streams = [s for a in page.get("account_details", []) for s in a.get("stream_detail", [])]
                consumers = [c for s in streams if s["name"] == names.MEDIA for c in s.get("consumer_detail", [])]
                pending = {c["name"]: c["num_pending"] for c in consumers}
    finally:
        monitored.terminate()
        await asyncio.to_thread(monitored.wait)
        await server.start()
    assert pending["cv"] == 1


async def test_the_largest_message_crosses_accounts(server: NatsServer, admin: Client) -> None:
    """The server adds a header in transit, and its limit is for messages of clients."""
    ingest = await bus.connect(server.settings("ingest"), "ingest")
    cv = await bus.connect(server.settings("cv"), "cv")
    head = {"Nats-Msg-Id": "lobby/e/1"}
    payload = bytes(ingest.max_payload - header_bytes(head))
    try:
        await bus.publish(ingest, ingest.jetstream(), names.media("lobby"), payload, head)
        pulled = await cv.jetstream().pull_subscribe_bind("cv", names.MEDIA)
        [message] = await pulled.fetch(1, timeout=patience_s())
        assert message.data == payload
        await message.ack_sync()
    finally:
        await ingest.close()
        await cv.close()
