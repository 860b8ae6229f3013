"""The endpoint of alerts: admin writes it, the webhook reads it, and nobody else may do either.

`test_tenants.py` tries the same from another tenant, on every bucket.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nats.errors
import nats.js.errors
import pytest
from nats.aio.client import Client

from shared import bus
from shared.bus.client import Denied
from shared.client import secret_entries
from shared.contract import endpoint, names
from shared.contract.endpoint import EndpointSettings
from shared.contract.rights import identities
from tests.support.files import contents
from tests.support.waiting import until
from tidegate.local.server import NatsServer

STREAM, SUBJECT = f"KV_{names.ENDPOINT}", f"$KV.{names.ENDPOINT}.{endpoint.KEY}"
SECRET = "hunter2hunter2"
OURS = endpoint.encode(EndpointSettings(url="https://hooks.example.org/", secret=SECRET))
THEIRS = endpoint.encode(EndpointSettings(url="https://evil.example.net/"))
REFUSED = (Denied, TimeoutError, nats.errors.Error, nats.js.errors.APIError)
OTHERS = sorted(identity for identity in identities.every() if identity != "webhook")


def test_no_permission_of_another_identity_names_the_bucket() -> None:
    for identity, rights in identities.permissions().items():
        subjects = [*rights["publish"], *rights["subscribe"]]
        named = [s for s in subjects if STREAM in s.split(".") or f".{names.ENDPOINT}." in f".{s}."]
        if identity == "webhook":
            assert not [s for s in named if s.startswith("$KV") or "DELETE" in s or "PURGE" in s], named
        else:
            assert named == [], identity


async def _tries(client: Client) -> list[Any]:
    """Return what an attacker gets: each way to read, write, hear and erase the bucket."""
    js = client.jetstream()
    got: list[Any] = []
    attempts = (
        lambda: js.get_msg(STREAM, 1),
        lambda: js.get_msg(STREAM, subject=SUBJECT, direct=True),
        lambda: js.get_last_msg(STREAM, SUBJECT),
        lambda: js.stream_info(STREAM),
        lambda: js.publish(SUBJECT, THEIRS),
        lambda: js.delete_msg(STREAM, 1),
        lambda: js.purge_stream(STREAM),
        lambda: js.delete_stream(STREAM),
        lambda: js.subscribe(SUBJECT, stream=STREAM),
    )
    for attempt in attempts:
        try:
            got.append(await attempt())
        except REFUSED:
            pass
    return got


@pytest.mark.slow
@pytest.mark.parametrize("identity", OTHERS)
async def test_no_other_identity_reads_writes_or_erases_it(server: NatsServer, admin: Client, identity: str) -> None:
    js = admin.jetstream()
    await secret_entries.write(js, names.ENDPOINT, endpoint.KEY, OURS)
    client = await bus.connect(server.settings(identity), identity, raises_denials=True)
    heard: list[bytes] = []
    try:
        for subject in (names.change(names.ENDPOINT, ">"), f"$KV.{names.ENDPOINT}.>"):

            async def hear(message: Any) -> None:
                heard.append(message.data)

            await client.subscribe(subject, cb=hear)
        assert await _tries(client) == []
        # An answer elsewhere: the server never checks the reply's subject.
        for request in (names.api("DIRECT.GET", STREAM, SUBJECT), names.api("STREAM.MSG.GET", STREAM)):
            await client.publish(request, b'{"last_by_subj": "%s"}' % SUBJECT.encode(), reply="events.alerts.lobby")
        await client.publish(SUBJECT, THEIRS)
        await client.flush()
        await secret_entries.write(js, names.ENDPOINT, endpoint.KEY, OURS)
        await client.flush()
    finally:
        await client.close()
    assert heard == [] and (await js.get_last_msg(STREAM, SUBJECT)).data == OURS
    assert (await js.stream_info(names.EVENTS)).state.messages == 0


async def test_the_webhook_reads_and_hears_it_and_writes_nothing(server: NatsServer, admin: Client) -> None:
    js = admin.jetstream()
    await secret_entries.write(js, names.ENDPOINT, endpoint.KEY, OURS)
    client = await bus.connect(server.settings("webhook"), "webhook", raises_denials=True)
    heard: list[bytes] = []

    async def hear(message: Any) -> None:
        heard.append(message.data)

    try:
        await client.subscribe(names.change(names.ENDPOINT, ">"), cb=hear)
        await client.flush()
        own = client.jetstream()
        assert (await own.get_last_msg(STREAM, SUBJECT, direct=True)).data == OURS
        for attempt in (
            lambda: own.publish(SUBJECT, THEIRS),
            lambda: own.publish(SUBJECT, b"", headers={"KV-Operation": "DEL"}),
            lambda: own.delete_msg(STREAM, 1),
            lambda: own.purge_stream(STREAM),
        ):
            with pytest.raises(REFUSED):
                await attempt()
        await secret_entries.write(js, names.ENDPOINT, endpoint.KEY, OURS)
        await until(lambda: heard == [OURS])
    finally:
        await client.close()


@pytest.mark.parametrize("after", ["changed", "removed"])
async def test_the_former_secret_is_in_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: str) -> None:
    monkeypatch.setenv("STORE_ENCRYPTION", "off")
    async with NatsServer(tmp_path / "nats") as server:
        client = await bus.connect(server.settings("admin"), "admin")
        try:
            await server.set_up(client)
            js = client.jetstream()
            await secret_entries.write(js, names.ENDPOINT, endpoint.KEY, OURS)
            await until(lambda: holding(tmp_path))
            await secret_entries.write(js, names.ENDPOINT, endpoint.KEY, THEIRS if after == "changed" else None)
            await until(lambda: not holding(tmp_path))
        finally:
            await client.close()
    assert not holding(tmp_path)


def holding(folder: Path) -> list[Path]:
    """Return the files with the secret in them."""
    return [path for path, content in contents(folder) if SECRET.encode() in content]
