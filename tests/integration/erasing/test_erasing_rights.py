"""Only admin erases: no other identity's request reaches a service, and none deletes a message of a stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import nats
import nats.errors
import pytest
import pytest_asyncio
from nats.aio.client import Client
from nats.aio.msg import Msg

from shared import bus
from shared.contract import names, topology
from shared.contract.questions.erasure import Erased, ErasureRequest
from tests.support.waiting import patience_s
from tests.support.worlds import attacks
from tests.support.worlds.erasing_world import everything, fill
from tidegate.local import tenants
from tidegate.local.server import NatsServer

REQUESTS = {names.ERASE_RECORDINGS: "recorder", names.ERASE_INDEX: "search"}
OTHERS = sorted(set(attacks.PERMISSIONS) - {"admin"})
# What an identity may delete by its record, which its own tests attack.
RIGHTFUL = {
    "console-operator": {f"KV_{names.CREDENTIALS}"},
    "console-admin": {f"KV_{names.CREDENTIALS}", f"KV_{names.SITE}", names.DLQ},
}


@pytest_asyncio.fixture
async def attacked(tmp_path: Path) -> AsyncIterator[NatsServer]:
    """A server with all identities and two readers, and every stream filled."""
    tenants.put(tmp_path / "nats/secrets", attacks.TENANT)
    async with NatsServer(tmp_path / "nats") as server:
        admin = await bus.connect(server.settings("admin"), "admin")
        await topology.apply(admin.jetstream(), attacks.LIMITS)
        await fill(admin, "lobby")
        await admin.close()
        yield server


async def on(server: NatsServer, identity: str) -> Client:
    async def ignore(error: Exception) -> None:
        """Ignore refusals of the server: only the effect counts."""

    login = server.settings(identity)
    inbox = f"_INBOX_{identity}".encode()
    return await nats.connect(
        login.nats_url, user=login.nats_user, password=login.nats_password, inbox_prefix=inbox, error_cb=ignore
    )


async def test_nobody_but_admin_erases(attacked: NatsServer) -> None:
    admin = await on(attacked, "admin")
    services = [await on(attacked, identity) for identity in REQUESTS.values()]
    heard: list[bytes] = []

    async def answer(message: Msg) -> None:
        heard.append(message.data)
        await message.respond(msgspec.json.encode(Erased()))

    for client, subject in zip(services, REQUESTS, strict=True):
        await client.subscribe(subject, cb=answer)
        await client.flush()
    payload = msgspec.json.encode(ErasureRequest(camera="lobby"))
    before = await everything(admin, ["lobby"])
    for identity in OTHERS:
        client = await on(attacked, identity)
        for subject in REQUESTS:
            await client.publish(subject, identity.encode(), reply=client.new_inbox())
        for stream, of in before.items():
            if stream in RIGHTFUL.get(identity, ()):
                continue
            for seq in [seq for seq, _, _ in of[:1]]:
                for api in (names.API, names.IMPORTED_API):
                    body = msgspec.json.encode({"seq": seq})
                    await client.publish(f"{api}.STREAM.MSG.DELETE.{stream}", body, reply=client.new_inbox())
                    await client.publish(f"{api}.STREAM.PURGE.{stream}", b"", reply=client.new_inbox())
        await client.flush()
        await client.close()
    for client in (*services, admin):
        await client.flush()
    assert heard == []
    assert await everything(admin, ["lobby"]) == before
    for subject in REQUESTS:
        reply = await admin.request(subject, payload, timeout=10)
        assert msgspec.json.decode(reply.data, type=Erased) == Erased()
    assert heard == [payload, payload]
    for client in (*services, admin):
        await client.close()


@pytest.mark.parametrize("subject", REQUESTS)
async def test_a_silent_service_of_another_identity_can_not_answer(attacked: NatsServer, subject: str) -> None:
    """A stolen password of another service must not claim that all is erased."""
    admin = await on(attacked, "admin")
    forgers = [await on(attacked, identity) for identity in OTHERS if identity != REQUESTS[subject]]

    async def forge(message: Msg) -> None:
        await message.respond(msgspec.json.encode(Erased(count=1)))

    for client in forgers:
        await client.subscribe(subject, cb=forge)
        await client.flush()
    # Whatever takes the request answers at the latest now.
    with pytest.raises(nats.errors.NoRespondersError):
        await admin.request(subject, b"{}", timeout=patience_s())
    await asyncio.gather(*(client.close() for client in (*forgers, admin)))
