"""New passwords at run time: in either order of server and service, no process ends and no message doubles."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from shared import bus
from shared.bus.password import Password
from shared.contract import names
from shared.runtime.settings import BusSettings, load
from tests.support.processes.service import settled
from tests.support.processes.service_process import ServiceProcess
from tests.support.servers.own_server import OwnServer
from tests.support.waiting import patience_s, until
from tests.support.worlds import jobs_world
from tidegate.commands import tidegate
from tidegate.local.cluster import ROUTES

IDENTITY = "embed"


def init(folder: Path, *more: str) -> str:
    done = CliRunner().invoke(tidegate, ["cluster", "init", str(folder), *more])
    assert done.exit_code == 0, done.output
    return done.output


@pytest_asyncio.fixture
async def own(tmp_path: Path) -> AsyncIterator[OwnServer]:
    """A set-up server with the accounts of `cluster init`."""
    init(tmp_path / "secrets")
    async with OwnServer(tmp_path) as server:
        done = await server.tidegate("setup")
        assert done.returncode == 0, done.stderr
        yield server


class Pod:
    """The folder where a kubelet mounts an identity's Secret, and the settings that name it."""

    def __init__(self, server: OwnServer, folder: Path, identity: str) -> None:
        self._secrets, self._identity = server.secrets, identity
        self.folder = folder / f"mounted-{identity}"
        self.folder.mkdir()
        self.environment = {
            "NATS_URL": server.url,
            "NATS_USER": identity,
            "NATS_PASSWORD_FILE": str(self.folder / "password"),
        }
        self.update()

    def update(self) -> None:
        """Update the mounted keys, as the kubelet does within a minute after a change of the Secret."""
        for file in self._secrets.glob(f"{self._identity}*"):
            if file.name in (self._identity, f"{self._identity}.msg-id-key"):
                shutil.copy(file, self.folder / file.name.replace(self._identity, "password", 1))

    def settings(self) -> BusSettings:
        return load(BusSettings, self.environment)


async def film(server: OwnServer, first: int, count: int) -> None:
    """Store segments of a second each, with the admin's current password."""
    client = await bus.connect(server.settings("admin"), "admin")
    await jobs_world.film(client, count, first=first)
    await client.close()


async def embedded(server: OwnServer, count: int) -> None:
    """Wait until each of `count` segments has one event, and no more come."""
    client = await bus.connect(server.settings("admin"), "admin")
    await settled(client)
    state = await client.jetstream().stream_info("EVENTS", subjects_filter=names.event("embeddings", "lobby"))
    assert sum((state.state.subjects or {}).values()) == count
    await client.close()


@pytest.mark.slow
@pytest.mark.parametrize("first", ["server", "pod"])
async def test_a_service_continues_with_a_new_password(own: OwnServer, tmp_path: Path, first: str) -> None:
    pod = Pod(own, tmp_path, IDENTITY)
    (tmp_path / "logs").mkdir()
    service = ServiceProcess(IDENTITY, pod.environment, tmp_path / "logs")
    try:
        await service.until_it_says("/readyz", "^ok")
        await film(own, 0, 4)
        await embedded(own, 4)
        init(own.secrets, "--rotate", "all")
        if first == "pod":
            pod.update()
        await own.reload()
        await film(own, 4, 4)
        if first == "server":
            # It has lost the server, and has only the old password.
            await until(lambda: "Authorization Violation" in service.log)
            pod.update()
        await embedded(own, 8)
        assert service.process.poll() is None
        assert "password" not in service.log.replace("NATS_PASSWORD", "")
    finally:
        service.process.terminate()
        assert await service.ended() == 0


async def test_messages_of_a_pod_are_the_same_after_the_change(own: OwnServer, tmp_path: Path) -> None:
    """A segment that an earlier and a later pod both process has one event."""
    pod = Pod(own, tmp_path, IDENTITY)
    before = await bus.connect(pod.settings(), IDENTITY)
    subject = names.event("embeddings", "lobby")
    try:
        assert not (await before.jetstream().publish(subject, b"{}", headers={"Nats-Msg-Id": "one"})).duplicate
        init(own.secrets, "--rotate", IDENTITY)
        pod.update()
        await own.reload()
        after = await bus.connect(pod.settings(), IDENTITY)
        try:
            assert (await after.jetstream().publish(subject, b"{}", headers={"Nats-Msg-Id": "one"})).duplicate
        finally:
            await after.close()
        # The earlier one has reconnected, by the file.
        async with asyncio.timeout(patience_s()):
            while not before.is_connected:
                await asyncio.sleep(0.05)
        assert (await before.jetstream().publish(subject, b"{}", headers={"Nats-Msg-Id": "one"})).duplicate
    finally:
        await before.close()


async def test_servers_can_change_one_after_the_other(own: OwnServer, tmp_path: Path) -> None:
    """Of two servers one has the new password and one the old: a client can use both."""
    pod = Pod(own, tmp_path, IDENTITY)
    other_folder = tmp_path / "other"
    shutil.copytree(own.secrets, other_folder / "secrets")
    async with OwnServer(other_folder) as other:
        client = await bus.connect(replace(pod.settings(), nats_url=f"{own.url},{other.url}"), IDENTITY)
        try:
            init(own.secrets, "--rotate", IDENTITY)
            pod.update()
            await own.reload()
            for wanted in (own, other, own, other):
                async with asyncio.timeout(patience_s()):
                    while not client.is_connected or client.connected_url.port != wanted.port:
                        await client.force_reconnect()
                        await asyncio.sleep(0.02)
        finally:
            await client.close()


@given(st.lists(st.sampled_from(["file", "reload a", "reload b"]), max_size=8), st.booleans())
def test_no_order_of_changes_locks_a_client_out(steps: list[str], whole: bool) -> None:
    """Each server accepts one password: if client or file ever had it, one of a few attempts succeeds."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "password"
        file.write_text("0")
        password = Password("0", file)
        takes, latest = {"a": "0", "b": "0"}, 0
        for step in steps:
            if step == "file":
                latest += 1
                file.write_text(str(latest))
            else:
                takes[step[-1]] = str(latest)
            for server in "ab" if whole else step[-1:].strip("e"):
                if not any(_enters(password, server, takes[server]) for _ in range(2 * (latest + 2))):
                    raise AssertionError(f"{server} takes {takes[server]}, and the file has {latest}")


def _enters(password: Password, server: str, taken: str) -> bool:
    if password.next(server) != taken:
        return False
    password.record_success()
    return True


def test_a_missing_or_binary_password_file_leaves_the_old_password(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("first\n")
    password = Password("first", file)
    assert password.is_of_file
    file.write_bytes(b"\xff\xfe")
    assert password.next("a") == "first"
    file.unlink()
    assert password.next("a") == "first"
    file.write_text("second")
    assert {password.next("a"), password.next("a")} == {"first", "second"}
    assert not Password("other", file).is_of_file


def test_rotation_replaces_only_the_named_passwords(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    init(folder)
    before = {p.name: p.read_text() for p in folder.iterdir() if p.is_file()}
    assert "1 passwords made (cv)" in init(folder, "--rotate", "cv")
    after = {p.name: p.read_text() for p in folder.iterdir() if p.is_file()}
    changed = {n for n in after if after[n] != before.get(n)} - {"accounts.conf", "kustomization.yaml"}
    # The old password is invalid now: it still makes the ids of cv's messages.
    assert changed == {"cv", "cv.msg-id-key"} and after["cv.msg-id-key"] == before["cv"]
    assert "files: [password=cv, password.msg-id-key=cv.msg-id-key]" in after["kustomization.yaml"]
    init(folder, "--rotate", "all")
    last = {p.name: p.read_text() for p in folder.iterdir() if p.is_file()}
    assert last["cv.msg-id-key"] == before["cv"] and last["cv"] != after["cv"]
    assert last["ingest"] != before["ingest"] and last["ingest.msg-id-key"] == before["ingest"]
    # The servers share this one, and would all have to change it together.
    assert last[ROUTES] == before[ROUTES]
    for wrong in ("nobody", ROUTES):
        done = CliRunner().invoke(tidegate, ["cluster", "init", str(folder), "--rotate", wrong])
        assert done.exit_code == 1 and "--rotate" in done.output and "ingest" in done.output, done.output
    assert {p.name: p.read_text() for p in folder.iterdir() if p.is_file()} == last
