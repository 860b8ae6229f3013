"""Site files on a real server: a crash at any point leaves the old state or the new one, and two people take turns."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext

from shared import bus
from shared.client import registry
from shared.contract import endpoint, names
from shared.contract.cameras import new_camera
from shared.contract.endpoint import EndpointSettings
from shared.contract.reading.entries import entries
from shared.runtime.errors import BusError
from shared.site import format as site_format
from shared.site import journal, references, state
from shared.site.plan import Plan, Write, plan
from tests.support.files import contents
from tests.support.waiting import until
from tidegate.local.server import NatsServer

OLD = """
cameras:
  lobby: {url: "rtsp://10.0.0.7/a", user: me, password: "${OLD}", fps: 2, recording: {keep_days: 2}}
  gone: {url: "rtsp://10.0.0.8/a", user: me, password: "${OLD}", rules: {zones: {z: {polygon: [[0,0],[1,0],[1,1]]}}}}
recording: {keep_days: 2}
webhook: {url: "https://old.example/${OLD}", secret: "${OLD}"}
"""
NEW = """
cameras:
  lobby: {url: "rtsp://10.0.0.7/a", user: me, password: "${NEW}", fps: 5, recording: {keep_days: 5}}
  gate: {url: "rtsp://10.0.0.9/a", user: me, password: "${NEW}", rules: {zones: {z: {polygon: [[0,0],[1,0],[1,1]]}}}}
recording: {keep_days: 5}
webhook: {url: "https://new.example/${NEW}", secret: "${NEW}"}
"""
PASSWORDS = {"OLD": "hunter2-old", "NEW": "hunter2-new"}


class Crash(BaseException):
    """The end of a process: nothing that it would do afterwards is done."""


class Crashing:
    """A JetStream context of a process that ends at its nth write."""

    def __init__(self, js: JetStreamContext, after: int) -> None:
        self._js, self._left = js, after

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._js, name)
        if name not in ("publish", "delete_msg", "key_value"):
            return found

        async def write(*arguments: Any, **options: Any) -> Any:
            if name != "key_value":
                self._left -= 1
                if self._left < 0:
                    raise Crash
            result = await found(*arguments, **options)
            if name == "key_value":
                result._js = self
            return result

        return write

    @property
    def crashed(self) -> bool:
        return self._left < 0


@pytest.fixture(autouse=True)
def short_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "LEASE_S", 0.1)
    monkeypatch.setattr(journal, "_POLL_S", 0.02)


async def planned(js: Any, text: str) -> Plan:
    site = site_format.read(text.encode(), "site.yaml")
    logins = {id: references.resolve(camera, PASSWORDS) for id, camera in site.cameras.items()}
    values = references.resolve_webhook(site.webhook, PASSWORDS) if site.webhook else None
    return plan(site, await state.read(js), logins, ("cameras", "recording", "webhook"), values)


async def apply(js: Any, text: str, by: str = "alice@here") -> list[str]:
    wanted = await planned(js, text)
    async with journal.locked(js, by, lambda _: None) as lock:
        await lock.apply(write for change in wanted.changes for write in change.writes)
    return lock.notes


async def stored(js: JetStreamContext) -> state.State:
    """Return what the buckets have, without the settings of removed cameras."""
    found = await state.read(js)
    return found._replace(revisions={})


@pytest.mark.slow
async def test_a_crash_leaves_the_old_state_or_the_new_one(server: NatsServer, admin: Client) -> None:
    js = admin.jetstream()
    await apply(js, OLD)
    old = await stored(js)
    await apply(js, NEW)
    new = await stored(js)
    seen = set()
    for after in range(100):
        await apply(js, OLD)
        assert await stored(js) == old
        crashing = Crashing(js, after)
        try:
            await apply(crashing, NEW)
        except Crash:
            pass
        notes = await journal.recover(js, "bob@there")
        found = await stored(js)
        assert found._replace(endpoint=None) in (old._replace(endpoint=None), new._replace(endpoint=None)), after
        # The webhook is no part of the journal. Its former secret is erased before the new one is written.
        assert found.endpoint in (old.endpoint, new.endpoint, None), after
        seen.add(found == new)
        assert await journal.pending(js) is None
        assert not [key for key in await entries(js, names.SITE) if key != journal.LOCK], after
        if not crashing.crashed:
            break
    assert seen == {True, False}
    assert after > 10
    assert notes == []


async def test_no_password_is_left_in_the_journal_on_disk(server: NatsServer, admin: Client, tmp_path: Path) -> None:
    js = admin.jetstream()
    await apply(js, OLD)
    await apply(js, NEW)
    await admin.close()
    await server.stop()
    files = [path for path in tmp_path.rglob("*") if path.is_file() and "KV_site" in str(path)]
    assert files
    assert not [path for path in files if b"hunter2" in path.read_bytes()]


async def test_former_secrets_and_the_journal_are_overwritten_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Encrypted files show nothing.
    monkeypatch.setenv("STORE_ENCRYPTION", "off")

    def holding(secret: bytes) -> list[Path]:
        return [path for path, content in contents(tmp_path) if secret in content]

    async with NatsServer(tmp_path / "nats") as server:
        client = await bus.connect(server.settings("admin"), "admin")
        try:
            await server.set_up(client)
            await apply(client.jetstream(), OLD)
            await until(lambda: holding(b"hunter2-old"))
            await apply(client.jetstream(), NEW)
        finally:
            await client.close()
    assert not holding(b"hunter2-old")
    assert not [path for path in holding(b"hunter2-new") if "KV_site" in str(path)]


async def test_what_another_changed_after_a_crash_stays(admin: Client) -> None:
    js = admin.jetstream()
    await apply(js, OLD)
    after = 0
    while (lock := await journal.pending(js)) is None or lock.phase != "committed":
        after += 1
        with pytest.raises(Crash):
            await apply(Crashing(js, after), NEW)
    await registry.change(js, "lobby", {"fps": 12.0})
    notes = await journal.recover(js, "bob@there")
    assert notes == ["the interrupted changes of alice@here are complete", "cameras lobby was changed since, and stays"]
    assert (await registry.read(js, "lobby")).fps == 12
    assert (await registry.read(js, "gate")).url == "rtsp://10.0.0.9/a"


async def test_a_change_by_another_during_an_apply_stays(admin: Client) -> None:
    js = admin.jetstream()
    await apply(js, OLD)
    wanted = await planned(js, NEW)
    await registry.change(js, "lobby", {"fps": 12.0})
    async with journal.locked(js, "alice@here", lambda _: None) as lock:
        await lock.apply(write for change in wanted.changes for write in change.writes)
    assert lock.notes == ["cameras lobby was changed meanwhile, and stays"]
    assert (await registry.read(js, "lobby")).fps == 12
    assert (await registry.read(js, "gate")).url == "rtsp://10.0.0.9/a"


async def test_a_process_that_lost_its_lock_leaves_it_to_the_next_one(admin: Client) -> None:
    js = admin.jetstream()
    async with journal.locked(js, "alice@here", lambda _: None):
        # Alice renews nothing: Bob takes her for dead.
        taken = journal.locked(js, "bob@there", lambda _: None)
        bob = await taken.__aenter__()
    await bob.apply([])
    assert await journal.pending(js) is None
    await taken.__aexit__(None, None, None)


async def test_two_people_take_turns_and_the_second_is_told(
    server: NatsServer, admin: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    # On a busy machine, the first may not renew in time.
    monkeypatch.setattr(journal, "LEASE_S", 60.0)
    js = admin.jetstream()
    other = await bus.connect(server.settings("admin"), "admin")
    progress: list[str] = []
    inside, leave = asyncio.Event(), asyncio.Event()

    async def hold() -> None:
        async with journal.locked(js, "alice@here", lambda _: None) as lock:
            inside.set()
            while not leave.is_set():
                await lock._renew()
                await asyncio.sleep(0.01)

    holding = asyncio.create_task(hold())
    try:
        await inside.wait()
        shown = await state.read(other.jetstream())

        async def second() -> None:
            async with journal.locked(other.jetstream(), "bob@there", progress.append) as lock:
                journal.check_unmoved(shown, await state.read(other.jetstream()))
                await lock.apply([Write(names.RECORDINGS, "default", 0, b"{}")])

        waiting = asyncio.create_task(second())
        while not progress:
            await asyncio.sleep(0.01)
        camera, secret = new_camera("rtsp://10.0.0.7/a")
        await registry.add(js, "lobby", camera, secret)
        leave.set()
        await holding
        with pytest.raises(journal.Moved, match="tidegate diff"):
            await waiting
        assert "alice@here" in progress[0]
        assert await entries(js, names.RECORDINGS) == {}
        assert await journal.pending(js) is None
    finally:
        leave.set()
        await other.close()


async def test_a_lock_that_is_no_lock_is_an_error_with_a_remedy(admin: Client) -> None:
    js = admin.jetstream()
    await (await js.key_value(names.SITE)).put(journal.LOCK, b"[]")
    with pytest.raises(BusError, match="delete its key 'apply'"):
        await apply(js, OLD)


async def forge(server: NatsServer, *changes: bytes, count: int = 9) -> None:
    """Leave committed changes of a dead process, with the rights of the console's admins."""
    client = await bus.connect(server.settings("console-admin"), "console-admin")
    js = client.jetstream()
    for n, change in enumerate(changes):
        await js.publish(f"$KV.{names.SITE}.change.{n}", change)
    lock = journal.Lock(by="mallory", phase="committed", count=count)
    await (await js.key_value(names.SITE)).create(journal.LOCK, msgspec.json.encode(lock))
    await client.close()


@pytest.mark.parametrize("bucket", [names.ENDPOINT, names.CONSOLE, names.WEBHOOK])
async def test_the_journal_lends_nobody_the_rights_of_who_completes_it(
    server: NatsServer, admin: Client, bucket: str
) -> None:
    js = admin.jetstream()
    value = endpoint.encode(EndpointSettings(url="https://mallory.example/"))
    forged = Write(bucket, names.WEBHOOK, 0, value)
    honest = Write(names.RECORDINGS, "default", 0, b'{"keep_days":2}')
    await forge(server, *(msgspec.json.encode(write) for write in (forged, honest)))
    notes = await journal.recover(js, "bob@there")
    assert notes[1:] == [f"{bucket} webhook is nothing that a journal changes, and stays"]
    assert await entries(js, bucket) == {}
    assert (await entries(js, names.RECORDINGS))["default"] == b'{"keep_days":2}'
    assert await journal.pending(js) is None


async def test_a_change_that_is_none_blocks_no_apply(server: NatsServer, admin: Client) -> None:
    js = admin.jetstream()
    key = Write(names.RECORDINGS, "a b", 0, b"{}")
    await forge(server, b"[]", b"\xff", msgspec.json.encode(key), count=10**12)
    notes = await journal.recover(js, "bob@there")
    assert [note.partition("can't")[0] for note in notes[1:3]] == ["its change 0 ", "its change 1 "]
    assert notes[3:] == ["recordings a b is nothing that a journal changes, and stays"]
    await apply(js, OLD)
    assert set((await state.read(js)).cameras) == {"lobby", "gone"}


async def test_the_webhooks_secret_is_never_in_the_journal(server: NatsServer, admin: Client) -> None:
    js = admin.jetstream()
    seen = bytearray()

    async def collect(msg: Msg) -> None:
        seen.extend(msg.data)

    await admin.subscribe(f"$KV.{names.SITE}.>", cb=collect)
    await apply(js, NEW)
    await admin.flush()
    assert b"gate" in seen and b"new.example" not in seen
    assert (await state.read(js)).endpoint is not None
