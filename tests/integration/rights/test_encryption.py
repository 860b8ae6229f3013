"""The disk of the embedded server: no password, nothing readable without the key, and no store without it."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
from collections import namedtuple
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from nats.aio.client import Client

from shared import bus
from shared.contract import names
from shared.contract.rights.identities import permissions
from shared.contract.topology import TopologySettings, apply
from shared.runtime.errors import BusError, SettingError
from shared.runtime.settings import BusSettings
from tests.support.files import contents
from tidegate.commands import doctor
from tidegate.local.server import NatsServer
from tidegate.view.findings import Finding

SECRET = b"operator:S3cret-of-the-lobby"
# Random, and thus incompressible.
SEGMENT = os.urandom(300_000)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@contextlib.asynccontextmanager
async def running(data: Path) -> AsyncIterator[tuple[NatsServer, Client]]:
    async with NatsServer(data) as server:
        client = await bus.connect(server.settings("admin"), "admin")
        try:
            yield server, client
        finally:
            await client.close()


async def filled(data: Path) -> None:
    """Create a store with a camera's password, two segments, and a worker that has finished one of them."""
    async with running(data) as (_, admin):
        js = admin.jetstream()
        await apply(js, TopologySettings())
        await (await js.key_value(names.CREDENTIALS)).put("lobby", SECRET)
        for n in range(2):
            await js.publish(names.media("lobby"), SEGMENT, headers={"Nats-Msg-Id": f"lobby/{n}"})
        worker = await js.pull_subscribe_bind("cv", names.MEDIA)
        (message,) = await worker.fetch(1)
        await message.ack_sync()
        await worker.unsubscribe()


async def check_all_is_there(data: Path) -> None:
    async with running(data) as (_, admin):
        js = admin.jetstream()
        assert await apply(js, TopologySettings()) == [], "nothing had to be made anew"
        assert (await (await js.key_value(names.CREDENTIALS)).get("lobby")).value == SECRET
        assert (await js.get_msg(names.MEDIA, 2)).data == SEGMENT
        worker = await js.consumer_info(names.MEDIA, "cv")
        assert worker.ack_floor and (worker.ack_floor.stream_seq, worker.num_pending) == (1, 1)


async def check_refused(data: Path, *words: str) -> None:
    """Assert that the server does not start, its error has each of the words, and no file of the store changes."""
    before = content(data / "jetstream")
    with pytest.raises(SettingError) as refused:
        await NatsServer(data).start()
    assert [word for word in words if word not in str(refused.value)] == []
    assert content(data / "jetstream") == before


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): held for path, held in contents(folder)}


def holding(folder: Path, text: bytes) -> list[str]:
    return [name for name, held in content(folder).items() if text in held]


async def test_no_file_has_a_password_or_video_of_a_camera(data: Path) -> None:
    await filled(data)
    assert content(data / "jetstream")
    assert holding(data, SECRET) == []
    assert holding(data, SEGMENT[1000:1100]) == []
    assert holding(data, b"media.lobby") == [], "nor which cameras there are"


async def test_secrets_from_a_backup_get_private_modes_again(data: Path) -> None:
    (data / "secrets").mkdir(parents=True, mode=0o755)
    (data / "secrets").chmod(0o755)
    async with running(data):
        assert (data / "secrets").stat().st_mode & 0o777 == 0o700


async def test_the_key_is_created_once_and_readable_by_its_owner_alone(data: Path) -> None:
    async with running(data) as (server, _):
        path = data / "secrets" / "store.key"
        key = path.read_text()
        assert len(key) >= 43 and path.stat().st_mode & 0o777 == 0o600
        shown = [Path(f"/proc/{server.pid}/{what}").read_bytes() for what in ("cmdline", "environ")]
        assert not any(key.encode() in each for each in shown)
        holders = [path for path, content in contents(data) if key.encode() in content]
        assert {path.parent for path in holders} == {data / "secrets"}, "a copy without the secrets is without the key"
        assert all(path.stat().st_mode & 0o077 == 0 for path in holders)
        await server.restart()
    assert path.read_text() == key


async def test_a_plain_store_is_encrypted_with_all_its_content(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORE_ENCRYPTION", "off")
    await filled(data)
    # As 0.2.0 left it.
    shutil.rmtree(data / "nats.conf")
    (data / "nats.conf").write_text("password: p")
    assert holding(data, SECRET) and not (data / "secrets/store.key").exists()
    monkeypatch.delenv("STORE_ENCRYPTION")
    await check_all_is_there(data)
    assert holding(data, SECRET) == [] and holding(data, SEGMENT[1000:1100]) == []
    assert not (data / "nats.conf").is_file(), "it had passwords in it"
    await check_all_is_there(data)


async def test_an_interrupted_encryption_begins_again(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The plain store stays until the server runs with the encrypted one."""
    monkeypatch.setenv("STORE_ENCRYPTION", "off")
    await filled(data)
    before = content(data / "jetstream")
    monkeypatch.delenv("STORE_ENCRYPTION")
    with pytest.raises(BusError):
        await NatsServer(data, executable="/bin/false").start()
    (block,) = (data / "jetstream").rglob("streams/MEDIA/msgs/1.blk")
    block.write_bytes(b"half a block")
    monkeypatch.setenv("STORE_ENCRYPTION", "off")
    with pytest.raises(BusError):
        await NatsServer(data, executable="/bin/false").start()
    assert content(data / "jetstream") == before
    monkeypatch.delenv("STORE_ENCRYPTION")
    await check_all_is_there(data)
    assert holding(data, SECRET) == [] and {p.name for p in data.glob("jetstream*")} == {"jetstream"}


async def test_an_older_version_finds_no_partial_copy(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder in place of nats.conf blocks it before the copy begins, and only where there is a copy."""
    monkeypatch.setenv("STORE_ENCRYPTION", "off")
    await filled(data)
    shutil.rmtree(data / "nats.conf")
    (data / "nats.conf").write_text("password: p")  # as 0.2.0 left it
    monkeypatch.delenv("STORE_ENCRYPTION")
    with monkeypatch.context() as small:
        usage = namedtuple("usage", "total used free")
        small.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9, 1000))
        await check_refused(data, "not encrypted yet")
    assert (data / "nats.conf").is_file(), "0.2.0 may go on"
    with monkeypatch.context() as killed:
        killed.setattr(shutil, "copytree", _killed)
        with pytest.raises(KeyboardInterrupt):
            await NatsServer(data).start()
    assert (data / "nats.conf").is_dir()
    await check_all_is_there(data)


def _killed(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


async def test_a_stream_that_can_t_be_encrypted_stops_it(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORE_ENCRYPTION", "off")
    await filled(data)
    (about,) = (data / "jetstream").rglob("streams/EVENTS/meta.inf")
    whole = about.read_bytes()
    about.write_bytes(whole[:-1])
    monkeypatch.delenv("STORE_ENCRYPTION")
    with pytest.raises(BusError, match=r"^EVENTS can't be encrypted, .*nats.log says why. STORE_ENCRYPTION=off"):
        await NatsServer(data).start()
    monkeypatch.setenv("STORE_ENCRYPTION", "off")
    async with running(data) as (_, admin):
        assert (await (await admin.jetstream().key_value(names.CREDENTIALS)).get("lobby")).value == SECRET
    about.write_bytes(whole)
    monkeypatch.delenv("STORE_ENCRYPTION")
    await check_all_is_there(data)


async def test_a_disk_without_room_for_a_copy_is_reported_first(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORE_ENCRYPTION", "off")
    await filled(data)
    monkeypatch.delenv("STORE_ENCRYPTION")
    usage = namedtuple("usage", "total used free")
    with monkeypatch.context() as small:
        small.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9, 1000))
        await check_refused(data, "not encrypted yet", "1000 are free", "STORE_ENCRYPTION=off")
    await check_all_is_there(data)


async def test_without_its_key_a_store_is_left_alone(data: Path) -> None:
    await filled(data)
    key = data / "secrets/store.key"
    aside = key.rename(data / "aside")
    await check_refused(data, str(key), "is missing", "put it back", "Nothing was changed")
    key.touch()
    await check_refused(data, str(key), "is missing")
    aside.rename(key)
    await check_all_is_there(data)


async def test_a_key_of_another_store_is_refused(data: Path, tmp_path: Path) -> None:
    await filled(data)
    async with running(tmp_path / "other"):
        pass
    key, other = data / "secrets/store.key", tmp_path / "other/secrets/store.key"
    own = key.read_text()
    key.write_text(other.read_text())
    await check_refused(data, str(key), "is not the key", "put that one back")
    # An editor ends a file with a line break.
    key.write_text(f"{own}\n")
    await check_all_is_there(data)


async def test_an_unverifiable_key_is_refused(data: Path) -> None:
    await filled(data)
    key, check = data / "secrets/store.key", data / "jetstream/key.sha256"
    check.unlink()
    await check_refused(data, str(check), "is missing", "sha256sum")
    check.write_text(f"{hashlib.sha256(key.read_bytes()).hexdigest()}  {key}\n")
    await check_all_is_there(data)


async def test_encryption_can_be_skipped_but_not_reverted(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await filled(data)
    monkeypatch.setenv("STORE_ENCRYPTION", "off")
    await check_refused(data, "STORE_ENCRYPTION=off", str(data / "jetstream"), "another directory")
    monkeypatch.setenv("STORE_ENCRYPTION", "no")
    await check_refused(data, "STORE_ENCRYPTION='no'", "'on' or 'off'")


async def test_the_server_configuration_has_no_usable_password(data: Path) -> None:
    async with running(data) as (server, _):
        written = (data / "secrets/nats.conf").read_text()
        plain = {user: server.settings(user).nats_password for user in permissions()}
        assert [user for user, password in plain.items() if password in written] == []
        assert len(set(re.findall(r'"password": "(\$2b\$04\$.{53})"', written))) == len(plain)
        for user, password in plain.items():
            client = await bus.connect(BusSettings(nats_url=server.url, nats_user=user, nats_password=password), user)
            await client.close()
        (first, *_) = re.findall(r'"password": "(.*?)"', written)
        with pytest.raises(BusError, match="refuses user 'admin'"):
            await bus.connect(BusSettings(nats_url=server.url, nats_user="admin", nats_password=first), "admin")


async def test_doctor_reports_whether_the_store_is_readable(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORE_ENCRYPTION", "off")
    await filled(data)
    assert doctor._store(data)[0].level == "note"
    monkeypatch.delenv("STORE_ENCRYPTION")
    assert doctor._store(data)[0].found == "'tidegate up' encrypts it"
    await check_all_is_there(data)
    key = data / "secrets/store.key"
    assert doctor._store(data) == [Finding("stored", "ok", f"encrypted, by {key}: keep a copy elsewhere")]
    key.unlink()
    (found,) = doctor._store(data)
    assert found.level == "bad" and str(key) in found.remedy
