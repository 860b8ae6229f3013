"""A removed or replaced password disappears from the server's files, not only from the stream."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from nats.aio.client import Client
from nats.js.api import KeyValueConfig
from nats.js.errors import NoKeysError
from nats.js.kv import KeyValue

from shared import bus
from shared.client import registry
from shared.contract import names, topology
from shared.contract.cameras import new_camera
from tests.support.files import contents
from tests.support.waiting import until
from tidegate.local.server import NatsServer

OLD = "S3cretPass"


@pytest_asyncio.fixture
async def plain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[NatsServer]:
    """A server that stores without encryption, so that its files can be searched; without streams."""
    monkeypatch.setenv("STORE_ENCRYPTION", "off")
    async with NatsServer(tmp_path / "nats") as server:
        yield server


@pytest_asyncio.fixture
async def someone(plain: NatsServer) -> AsyncIterator[Client]:
    client = await bus.connect(plain.settings("admin"), "admin")
    yield client
    await client.close()


def holding(folder: Path, word: str) -> list[str]:
    """The files with `word` in them."""
    return [str(path) for path, content in contents(folder) if word.encode() in content]


@pytest.mark.parametrize("way", ["remove", "replace", "unset", "set", "move"])
async def test_a_removed_password_is_in_no_file(plain: NatsServer, someone: Client, tmp_path: Path, way: str) -> None:
    js = someone.jetstream()
    await topology.apply(js, topology.TopologySettings())
    for id in ("first", "last"):
        await registry.add(js, id, *new_camera(f"rtsp://me:Kept{id}@10.0.0.8/x"))
    await registry.add(js, "lobby", *new_camera(f"rtsp://me:{OLD}@10.0.0.7/x"))
    await registry.add(js, "hall", *new_camera("rtsp://me:Other@10.0.0.9/x"))
    await until(lambda: holding(tmp_path, OLD))
    if way == "remove":
        await registry.remove(js, "lobby")
    elif way == "replace":
        await registry.put(js, "lobby", *new_camera("rtsp://me:new@10.0.0.7/x"))
    else:
        change = {"unset": {"password": None}, "set": {"password": "new"}, "move": {"url": "rtsp://10.0.0.1/x"}}[way]
        await registry.change(js, "lobby", change)
    await until(lambda: not holding(tmp_path, OLD))
    await plain.restart()
    await until(lambda: someone.is_connected)
    assert not holding(tmp_path, OLD)
    assert (await registry.credentials(js, "lobby") is not None) == (way in ("replace", "set"))
    for id, secret in (("first", "me:Keptfirst"), ("last", "me:Keptlast"), ("hall", "me:Other")):
        stored = await registry.credentials(js, id)
        assert stored and stored.secret == secret
    await registry.add(js, "new", *new_camera("rtsp://me:New@10.0.0.9/x"))
    assert set(await registry.all(js)) >= {"first", "last", "hall", "new"}


async def test_setup_erases_what_earlier_versions_left_in_files(someone: Client, tmp_path: Path) -> None:
    js = someone.jetstream()
    for name in (names.CAMERAS, names.CREDENTIALS):
        await js.create_key_value(KeyValueConfig(bucket=name, history=1, direct=True))
    bucket = await js.key_value(names.CREDENTIALS)
    for id in ("lobby", "hall"):
        await registry.put(js, id, new_camera("rtsp://10.0.0.7/x")[0], None)
        await bucket.put(id, f"me:{OLD}".encode())
        await bucket.put(id, b"me:now")
    await bucket.put("gone", f"me:{OLD}".encode())
    await bucket.delete("gone")
    await until(lambda: holding(tmp_path, OLD))
    changed = await topology.apply(js, topology.TopologySettings())
    assert "bucket credentials made anew: what is removed from it is overwritten on disk" in changed
    assert not holding(tmp_path, OLD)
    assert len(await registry.bind_credentials(js)) == 2
    stored = await registry.credentials(js, "lobby")
    assert stored and stored.secret == "me:now" and stored.origin == "rtsp://10.0.0.7:554"
    assert await topology.apply(js, topology.TopologySettings()) == []


async def test_an_interrupted_setup_loses_no_password(someone: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    js = someone.jetstream()
    for name in (names.CAMERAS, names.CREDENTIALS):
        await js.create_key_value(KeyValueConfig(bucket=name, history=1, direct=True))
    await (await js.key_value(names.CREDENTIALS)).put("lobby", b"me:now")
    built = js.add_stream

    async def cut_off(config: object = None, **more: object) -> object:
        if getattr(config, "name", "") == f"KV_{names.CREDENTIALS}":
            raise TimeoutError
        return await built(config, **more)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(js, "add_stream", cut_off)
        with pytest.raises(Exception, match="credentials can't be set up"):
            await topology.apply(js, topology.TopologySettings())
    await topology.apply(js, topology.TopologySettings())
    assert (await (await js.key_value(names.CREDENTIALS)).get("lobby")).value == b"me:now"
    assert not [i for i in await js.streams_info() if "copy" in str(i.config.name)]


async def test_a_short_list_of_keys_loses_no_password(someone: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client's own list ends early, when a consumer has sent all: the test provokes it."""
    js = someone.jetstream()
    for name in (names.CAMERAS, names.CREDENTIALS):
        await js.create_key_value(KeyValueConfig(bucket=name, history=1, direct=True))
    await registry.put(js, "lobby", new_camera("rtsp://10.0.0.7/x")[0], None)
    await (await js.key_value(names.CREDENTIALS)).put("lobby", b"me:now")

    async def short(*_: object, **__: object) -> list[str]:
        raise NoKeysError

    monkeypatch.setattr(KeyValue, "keys", short)
    await topology.apply(js, topology.TopologySettings())
    assert await registry.bind_credentials(js) == ["password of camera lobby bound to rtsp://10.0.0.7:554"]
    stored = await registry.credentials(js, "lobby")
    assert stored and stored.secret == "me:now"
    assert list(await registry.all(js)) == ["lobby"]
