"""What backup and restore refuse, before anything is changed; and a restore that was interrupted."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from msgspec.structs import replace

from shared.client import registry
from shared.contract import names
from shared.contract.cameras import Camera, encode
from shared.contract.reading.entries import entries
from shared.runtime import lock
from shared.runtime.errors import SettingError
from tests.support.processes.command_line import tidegate
from tests.support.worlds.backups import header, key_file, running, written
from tidegate.backup import contents, restoring
from tidegate.backup.records import FORMAT, AnyRecord, Entry, Note, Piece

LOBBY = Entry(bucket=names.CAMERAS, key="lobby", value=encode(Camera(url="rtsp://10.0.0.7")))
YARD = Entry(bucket=names.CAMERAS, key="yard", value=encode(Camera(url="rtsp://10.0.0.8")))


def refused(data: Path, *arguments: str) -> str:
    """Return the error of a command, which leaves the data directory as it is."""
    before = sorted(path for path in data.rglob("*") if path.name != "lock") if data.exists() else []
    process = tidegate(data, *arguments, check=False)
    assert process.returncode == 1, process.stdout
    assert (sorted(path for path in data.rglob("*") if path.name != "lock") if data.exists() else []) == before
    return process.stderr


def source(file: Path, *records: AnyRecord, replaces: bool = False) -> restoring.Source:
    """Return the checked backup of these records."""
    file.write_bytes(written(records))
    return restoring.Source(file=file, key=None, contents=contents.check(file, None, print), replace=replaces)


async def restored(data: Path, found: restoring.Source) -> restoring.Restored:
    def confirm(others: list[str]) -> None:
        if others and not found.replace:
            raise SettingError(", ".join(others))

    return await restoring.restore_here(data, found, confirm, lambda _: None)


def test_a_backup_with_passwords_needs_a_key(tmp_path: Path) -> None:
    error = refused(tmp_path / "data", "backup", str(tmp_path / "a.tgb"))
    assert "--key" in error
    assert "--without-passwords" in error


async def test_a_file_that_is_there_stays(tmp_path: Path) -> None:
    (tmp_path / "a.tgb").write_text("of last year")
    async with running(tmp_path / "data"):
        process = await asyncio.to_thread(
            tidegate, tmp_path / "data", "backup", str(tmp_path / "a.tgb"), "--without-passwords", check=False
        )
    assert "there already" in process.stderr
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["a.tgb"]
    assert (tmp_path / "a.tgb").read_text() == "of last year"


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", "no backup of Tidegate"),
        (b"PK\x03\x04 some other archive", "no backup of Tidegate"),
        (written([LOBBY])[:-40], "truncated"),
        (written([LOBBY])[:150], "truncated"),
        (written([LOBBY], head=header(format=FORMAT + 1)), "its format is 2"),
        (written([Entry(bucket=names.LEASES, key="lobby", value=b"{}")]), "no backup has"),
    ],
    ids=["empty", "foreign", "without its end", "half", "newer", "another bucket"],
)
def test_a_file_that_can_not_be_restored_changes_nothing(tmp_path: Path, data: bytes, error: str) -> None:
    (tmp_path / "a.tgb").write_bytes(data)
    with pytest.raises(SettingError, match=error):
        contents.check(tmp_path / "a.tgb", None, print)


def test_another_key_is_refused(tmp_path: Path) -> None:
    from shared.recordings.stores import keys

    own, other, file = key_file(tmp_path / "own"), key_file(tmp_path / "other"), tmp_path / "a.tgb"
    secret = keys.read(own, "--key").all[0]
    file.write_bytes(written([LOBBY], secret))
    assert contents.check(file, own, print).counts == {"bucket cameras": 1}
    assert "which" in refused(tmp_path / "data", "restore", str(file), "--key", str(other))
    with pytest.raises(SettingError, match="give --key"):
        contents.check(file, None, print)


def test_a_listing_needs_no_server(tmp_path: Path) -> None:
    (tmp_path / "a.tgb").write_bytes(written([LOBBY, Note(text="lobby changed")]))
    process = tidegate(tmp_path / "data", "restore", str(tmp_path / "a.tgb"), "--dry-run")
    assert "yard at 2026-12-01" in process.stdout
    assert "bucket cameras" in process.stdout
    assert not (tmp_path / "data").exists()


def test_a_running_stack_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "a.tgb").write_bytes(written([LOBBY]))
    with _locked(tmp_path / "data"):
        assert "stop it" in refused(tmp_path / "data", "restore", str(tmp_path / "a.tgb"))


@contextmanager
def _locked(data: Path) -> Iterator[None]:
    with lock.acquire(data / "lock", "taken"):
        yield


@pytest.mark.slow
async def test_other_cameras_are_replaced_only_on_request(tmp_path: Path) -> None:
    data = tmp_path / "data"
    async with running(data) as admin:
        js = admin.jetstream()
        await registry.put(js, "door", Camera(url="rtsp://10.0.0.9"), "op:x")
        await js.publish(f"$KV.{names.RULES}.door", b"{}")
    with pytest.raises(SettingError, match="door"):
        await restored(data, source(tmp_path / "a.tgb", LOBBY))
    async with running(data) as admin:
        assert list(await registry.all(admin.jetstream())) == ["door"]
    await restored(data, source(tmp_path / "a.tgb", LOBBY, replaces=True))
    async with running(data) as admin:
        assert list(await registry.all(admin.jetstream())) == ["lobby"]
        assert await entries(admin.jetstream(), names.RULES) == {}
        assert await entries(admin.jetstream(), names.CREDENTIALS) == {}


def test_a_replacement_that_nobody_confirms_is_refused(tmp_path: Path) -> None:
    from tidegate.commands.restore import _confirm

    with pytest.raises(SettingError, match="--replace"):
        _confirm(["door"], replace=False, yes=True)
    _confirm(["door"], replace=True, yes=True)


async def test_invalid_entries_are_lines(tmp_path: Path) -> None:
    bad = [
        Entry(bucket=names.CAMERAS, key="bad", value=b"{"),
        Entry(bucket=names.RULES, key="lobby", value=b'{"zones": 1}'),
        Entry(bucket=names.CONSOLE, key="person.a", value=b"{}"),
    ]
    done = await restored(tmp_path / "data", source(tmp_path / "a.tgb", *bad, LOBBY))
    assert [line.split(" is left out")[0] for line in done.lines] == ["cameras bad", "rules lobby", "console person.a"]
    async with running(tmp_path / "data") as admin:
        assert list(await registry.all(admin.jetstream())) == ["lobby"]


async def test_an_interrupted_restore_is_completed_by_a_second_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, stop = tmp_path / "data", RuntimeError("killed")
    found = source(tmp_path / "a.tgb", LOBBY, YARD, Piece(path="models/active", data=b"", first=True, last=True))
    usual = registry.restore

    async def dies(js: object, id: str, *rest: object) -> None:
        if id == "yard":
            raise stop
        await usual(js, id, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(registry, "restore", dies)
    with pytest.raises(RuntimeError, match="killed"):
        await restored(data, found)
    monkeypatch.setattr(registry, "restore", usual)
    await restored(data, found)
    async with running(data) as admin:
        assert list(await registry.all(admin.jetstream())) == ["lobby", "yard"]


async def test_files_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    found = source(tmp_path / "a.tgb", LOBBY)
    found = replace(found, contents=replace(found.contents, files_bytes=10**18))
    with pytest.raises(SettingError, match="are free"):
        await restored(tmp_path / "data", found)


async def test_a_server_gets_no_tenants_that_it_can_not_read(tmp_path: Path) -> None:
    piece = Piece(path="secrets/tenants.json", data=b"{", first=True, last=True)
    with pytest.raises(SettingError, match="tenants"):
        await restored(tmp_path / "data", source(tmp_path / "a.tgb", piece, LOBBY))
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["lock"]


async def test_the_store_and_its_key_are_never_replaced(tmp_path: Path) -> None:
    data = tmp_path / "data"
    async with running(data):
        pass
    key = (data / "secrets/store.key").read_text()
    pieces = [Piece(path=f"secrets/{n}", data=b"x", first=True, last=True) for n in ("store.key", "nats.conf")]
    done = await restored(data, source(tmp_path / "a.tgb", *pieces, LOBBY))
    assert done.files["secrets"] == 0
    assert (data / "secrets/store.key").read_text() == key
