"""A machine is lost: its backup brings cameras, people and passwords back on another one."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest
from nats.aio.client import Client

from services.console.accounts.records import Group, Person, group_key, person_key
from shared import bus
from shared.bus.log import Log
from shared.client import registry
from shared.contract import names
from shared.contract.reading.entries import entries
from shared.runtime.settings import BusSettings
from tests.support.processes.command_line import tidegate
from tests.support.worlds.backups import key_file
from tests.support.worlds.rule_files import VALID
from tidegate.backup import scope
from tidegate.local import tenants
from tidegate.local.stack import Stack

PERSON = msgspec.json.encode(Person(role="operator", groups=("doors",), password="hash"))
GROUP = msgspec.json.encode(Group(cameras=("lobby",)))


async def command(data: Path, *arguments: str, check: bool = True) -> str:
    """Run a command next to the stack, and return what it printed."""
    process = await asyncio.to_thread(tidegate, data, *arguments, check=check)
    return process.stdout + process.stderr


async def state(admin: Client) -> dict[str, object]:
    """All that people have set, and what they did."""
    js = admin.jetstream()
    found: dict[str, object] = {bucket: await entries(js, bucket) for bucket in scope.buckets(passwords=True)}
    async with Log(admin, names.AUDIT) as log:
        found[names.AUDIT] = [(stored.subject, stored.data) for stored in await log.all(">")]
    found["whole cameras"] = await registry.all(js, whole=True)
    return found


@pytest.mark.slow
async def test_a_lost_machine_is_back_by_one_command(tmp_path: Path) -> None:
    lost, new, file, key = tmp_path / "lost", tmp_path / "new", tmp_path / "a.tgb", key_file(tmp_path / "key")
    (tmp_path / "rules.yaml").write_text(VALID)
    (tmp_path / "password").write_text("s3cr3t\n")
    async with Stack(lost, {}, port=0) as stack:
        password = ("--user", "op", "--password-file", str(tmp_path / "password"))
        await command(lost, "camera", "add", "lobby", "rtsp://127.0.0.1:9/stream?channel=abc", *password)
        await command(lost, "rules", "set", "lobby", str(tmp_path / "rules.yaml"))
        await command(lost, "recordings", "set", "lobby", "--keep", "30d")
        await command(lost, "reader", "add", "desk", "--kind", "alerts")
        js = stack.admin.jetstream()
        for name, value in ((person_key("anna"), PERSON), (group_key("doors"), GROUP)):
            await js.publish(f"$KV.{names.CONSOLE}.{name}", value)
        await js.publish(names.audit("camera.add"), b'{"person": "anna"}', headers={"Nats-Msg-Id": "audit/1"})
        assert "encrypted" in await command(lost, "backup", str(file), "--key", str(key))
        before = await state(stack.admin)
        passwords = {p.name: p.read_text() for p in (lost / "secrets").iterdir() if scope.has_secret(p.name)}
    assert file.stat().st_mode & 0o777 == 0o600
    assert b"s3cr3t" not in file.read_bytes()

    lost.rename(tmp_path / "gone")
    assert "'tidegate up'" in await command(new, "restore", str(file), "--key", str(key))
    async with Stack(new, {}, port=0) as stack:
        assert await state(stack.admin) == before
        camera = await registry.credentials(stack.admin.jetstream(), "lobby")
        assert camera is not None
        assert camera.secret == "op:s3cr3t"
        assert {n: (new / "secrets" / n).read_text() for n in passwords} == passwords
        [reader] = tenants.read(new / "secrets")[0].readers
        desk = BusSettings(
            nats_url=stack.server.url, nats_user=reader.identity, nats_password=passwords[reader.identity]
        )
        client = await bus.connect(desk, "desk")
        await client.close()
        assert (await stack.admin.jetstream().consumer_info(names.EVENTS, reader.identity)).name == reader.identity


@pytest.mark.slow
async def test_without_passwords_the_rest_comes_back(tmp_path: Path) -> None:
    lost, new, file = tmp_path / "lost", tmp_path / "new", tmp_path / "a.tgb"
    (tmp_path / "password").write_text("s3cr3t\n")
    async with Stack(lost, {}, port=0) as stack:
        password = ("--user", "op", "--password-file", str(tmp_path / "password"))
        await command(lost, "camera", "add", "lobby", "rtsp://127.0.0.1:9/stream?channel=abc", *password)
        await stack.admin.jetstream().publish(f"$KV.{names.CONSOLE}.{person_key('anna')}", PERSON)
        assert "not encrypted" in await command(lost, "backup", str(file), "--without-passwords")
    printed = await command(new, "restore", str(file))
    assert "without passwords" in printed
    async with Stack(new, {}, port=0) as stack:
        js = stack.admin.jetstream()
        assert (await registry.read(js, "lobby")).url == "rtsp://127.0.0.1:9"
        assert await entries(js, names.CREDENTIALS) == {}
        person = msgspec.json.decode((await entries(js, names.CONSOLE))[person_key("anna")], type=Person)
        assert person == Person(role="operator", groups=("doors",))
    assert (lost / "secrets/admin").read_text() != (new / "secrets/admin").read_text()
