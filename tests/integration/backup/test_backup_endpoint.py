"""The webhook's endpoint in backups: with the passwords, or not at all."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from nats.aio.client import Client

from shared.client import secret_entries
from shared.contract import endpoint, names
from shared.contract.endpoint import EndpointSettings
from shared.contract.reading.entries import entries
from tests.support.files import contents as files
from tests.support.processes.command_line import tidegate
from tests.support.worlds.backups import key_file, running, written
from tidegate.backup import contents, restoring
from tidegate.backup.records import Entry

OURS = endpoint.encode(EndpointSettings(url="https://hooks.example.org/T0KEN", secret="s3cr3tOne"))
OTHER = endpoint.encode(EndpointSettings(url="https://hooks.example.org/T0KEN", secret="s3cr3tTwo"))


async def stored(client: Client) -> dict[str, bytes]:
    return await entries(client.jetstream(), names.ENDPOINT)


async def restored(data: Path, file: Path, *records: Entry, replaces: bool = False) -> restoring.Restored:
    file.write_bytes(written(records))
    source = restoring.Source(file=file, key=None, contents=contents.check(file, None, print), replace=replaces)
    return await restoring.restore_here(data, source, lambda _: None, lambda _: None)


@pytest.mark.slow
async def test_it_is_in_a_backup_with_passwords_alone(tmp_path: Path) -> None:
    lost, new, key = tmp_path / "lost", tmp_path / "new", key_file(tmp_path / "key")
    whole, bare = str(tmp_path / "whole.tgb"), str(tmp_path / "bare.tgb")
    async with running(lost) as admin:
        await secret_entries.write(admin.jetstream(), names.ENDPOINT, endpoint.KEY, OURS)
        refused = await asyncio.to_thread(tidegate, lost, "backup", whole, check=False)
        assert refused.returncode == 1 and "--key" in refused.stderr
        taken = await asyncio.to_thread(tidegate, lost, "backup", whole, "--key", str(key))
        assert "bucket endpoint 1" in taken.stdout
        taken = await asyncio.to_thread(tidegate, lost, "backup", bare, "--without-passwords")
        assert "endpoint" not in taken.stdout
    for file in (whole, bare):
        assert b"T0KEN" not in Path(file).read_bytes() and b"s3cr3t" not in Path(file).read_bytes()
    back = await asyncio.to_thread(tidegate, new, "restore", whole, "--key", str(key))
    assert "1 endpoint" in back.stdout and "s3cr3t" not in back.stdout
    async with running(new) as admin:
        assert await stored(admin) == {endpoint.KEY: OURS}
        # One without passwords leaves it, also with --replace.
    await asyncio.to_thread(tidegate, new, "restore", bare, "--replace", "--yes")
    async with running(new) as admin:
        assert await stored(admin) == {endpoint.KEY: OURS}


@pytest.mark.slow
async def test_a_restored_one_overwrites_the_former_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORE_ENCRYPTION", "off")
    data, file = tmp_path / "data", tmp_path / "a.tgb"
    async with running(data) as admin:
        await secret_entries.write(admin.jetstream(), names.ENDPOINT, endpoint.KEY, OURS)
    assert [path for path, content in files(data) if b"s3cr3tOne" in content]
    done = await restored(data, file, Entry(bucket=names.ENDPOINT, key=endpoint.KEY, value=OTHER))
    assert done.entries == {names.ENDPOINT: 1} and not done.lines
    assert not [path for path, content in files(data) if b"s3cr3tOne" in content]
    await restored(data, file, replaces=True)
    assert not [path for path, content in files(data) if b"s3cr3tTwo" in content]
    async with running(data) as admin:
        assert await stored(admin) == {}


@pytest.mark.slow
async def test_a_hostile_one_is_left_out(tmp_path: Path) -> None:
    hostile = [
        Entry(bucket=names.ENDPOINT, key=endpoint.KEY, value=b'{"url": "file:///hunter2"}'),
        Entry(bucket=names.ENDPOINT, key="other", value=OURS),
    ]
    done = await restored(tmp_path / "data", tmp_path / "a.tgb", *hostile)
    assert done.entries == {} and len(done.lines) == 2 and "hunter2" not in str(done.lines)
    async with running(tmp_path / "data") as admin:
        assert await stored(admin) == {}
