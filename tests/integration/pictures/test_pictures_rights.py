"""The rights of pictures: who may write them, who may read them, and what else the service may do."""

from __future__ import annotations

import json
from pathlib import Path

import nats
import nats.errors
import pytest
from nats.aio.client import Client

from shared.contract import names
from shared.contract.rights.accounts import user_of
from tests.support.servers.own_server import OwnServer, accounts
from tidegate.local.server import NatsServer

SUBJECT = names.picture("lobby", "crowd.1")
READERS = ("player", "console-viewer")


async def connect(url: str, user: str, password: str, identity: str) -> Client:
    async def ignore(error: Exception) -> None:
        """Ignore refusals of the server: only the effect counts."""

    inbox = f"_INBOX_{identity}".encode()
    return await nats.connect(url, user=user, password=password, inbox_prefix=inbox, error_cb=ignore)


async def on(server: NatsServer, identity: str) -> Client:
    login = server.settings(identity)
    return await connect(server.url, login.nats_user, login.nats_password, identity)


async def read(client: Client, stream: str = names.PICTURES, seq: int = 1, *, api: str = names.API) -> bytes | None:
    """Return the message by the widest of direct gets; None if this user does not get it."""
    try:
        answer = await client.request(f"{api}.DIRECT.GET.{stream}", json.dumps({"seq": seq}).encode(), timeout=5)
    except (TimeoutError, nats.errors.Error):
        return None
    return answer.data if (answer.headers or {}).get("Nats-Sequence") else None


@pytest.mark.parametrize("identity", ["pictures", "viewer", "finder", "cv", "analytics", "webhook", *READERS])
async def test_only_those_who_may_play_video_read_pictures(server: NatsServer, admin: Client, identity: str) -> None:
    await admin.jetstream().publish(SUBJECT, b"a picture")
    client = await on(server, identity)
    assert await read(client) == (b"a picture" if identity in READERS else None)
    await client.close()


@pytest.mark.slow
async def test_the_service_writes_pictures_and_dead_letters_and_nothing_else(server: NatsServer, admin: Client) -> None:
    js = admin.jetstream()
    await js.publish(SUBJECT, b"a picture")
    await js.publish("events.detections.lobby", b"{}")
    await js.publish(f"$KV.{names.CREDENTIALS}.lobby", b"secret")
    before = {stream.config.name: stream.state.last_seq for stream in await js.streams_info()}
    client = await on(server, "pictures")
    subjects = [
        *("media.lobby", "events.alerts.lobby", "events.detections.lobby", "jobs.vlm.ask.lobby", "dlq.cv", "audit.x"),
        *(f"$KV.{bucket}.camera.lobby" for bucket in (names.RECORDINGS, names.CAMERAS, names.CREDENTIALS)),
        *("pictures.alerts.lobby", "pictures.alerts.lobby.a.b", "pictures.other.lobby.a"),
    ]
    for subject in subjects:
        await client.publish(subject, b"forged", reply=client.new_inbox())
    for call in ("STREAM.PURGE", "STREAM.DELETE", "STREAM.MSG.DELETE", "STREAM.UPDATE"):
        for api in (names.API, names.IMPORTED_API):
            for stream in (names.PICTURES, names.EVENTS, names.MEDIA):
                await client.publish(f"{api}.{call}.{stream}", b'{"seq": 1}', reply=client.new_inbox())
    # A header can't empty the stream, nor place a message elsewhere.
    for header in ({"Nats-Rollup": "all"}, {"Nats-Expected-Stream": names.EVENTS}):
        await client.publish(SUBJECT, b"forged", headers=header)
    await client.flush()
    streams = (names.EVENTS, f"KV_{names.CREDENTIALS}", f"KV_{names.CAMERAS}", names.DLQ, names.AUDIT)
    assert [await read(client, stream) for stream in streams] == [None] * len(streams)
    assert {stream.config.name: stream.state.last_seq for stream in await js.streams_info()} == before
    assert (await js.stream_info(names.PICTURES)).state.messages == 1
    await client.jetstream().publish(names.picture("lobby", "crowd.2"), b"another")
    await client.close()


@pytest.mark.slow
async def test_no_tenant_reads_the_pictures_of_another(tmp_path: Path) -> None:
    accounts(tmp_path, "--tenant", "ACME")
    accounts(tmp_path, "--tenant", "GLOBEX", "--max-store", "100GB")
    async with OwnServer(tmp_path) as server:
        for tenant in ("ACME", "GLOBEX"):
            done = await server.tidegate("setup", user=f"{tenant}-admin")
            assert done.returncode == 0, done.stderr

        async def as_user(tenant: str, identity: str) -> Client:
            login = server.settings(user_of(tenant, identity))
            return await connect(server.url, login.nats_user, login.nats_password, identity)

        owner = await as_user("GLOBEX", "admin")
        await owner.jetstream().publish(SUBJECT, b"of GLOBEX")
        for identity in READERS:
            own, other = await as_user("GLOBEX", identity), await as_user("ACME", identity)
            assert await read(own) == b"of GLOBEX"
            for api in (names.API, names.IMPORTED_API, "$JS.GLOBEX.API"):
                assert await read(other, api=api) is None
            await own.close()
            await other.close()
        writer = await as_user("ACME", "pictures")
        await writer.jetstream().publish(SUBJECT, b"of ACME")
        assert (await owner.jetstream().stream_info(names.PICTURES)).state.messages == 1
        await writer.close()
        await owner.close()
