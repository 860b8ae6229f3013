"""0.2.0 itself, out of this repository's history: its processes run next to those of this version, and are replaced.

A real server, real cameras, and everything that 0.2.0 was: its accounts, its `tidegate setup`, its services.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner
from nats.aio.client import Client

from shared import bus
from shared.bus.log import Log
from shared.contract import catalog, names
from shared.runtime import child
from tests.support.paths import ROOT
from tests.support.processes.service import settled
from tests.support.servers.own_server import OwnServer
from tests.support.waiting import patience_s, until
from tests.support.worlds.search_world import rows
from tidegate.commands import tidegate
from tidegate.demo import footage
from tidegate.demo.bank import Bank

BEFORE = "0.2.0"
# As deploy/README.md of 0.2.0 had it; existing passwords stay.
ACCOUNTS = """
import sys
from pathlib import Path
from shared.contract.identities import accounts_block, new_passwords
folder = Path(sys.argv[1])
passwords = new_passwords()
for user in passwords:
    if (folder / user).exists():
        passwords[user] = (folder / user).read_text()
for identity, password in passwords.items():
    (folder / identity).write_text(password)
(folder / "accounts.conf").write_text(accounts_block(passwords))
"""
RULES = "rules: [{id: somebody, kind: count, over: 0}]\n"
WORKERS = ("cv", "embed", "analytics", "search")
CAMERAS = 2


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The code of the version before."""
    found = _git("log", "--format=%H", f"-S## {BEFORE} (", "--", "CHANGELOG.md").split()
    if not found or not (ROOT / ".git").exists():
        pytest.skip(f"{BEFORE} is not in this clone's history: git fetch --unshallow")
    folder = tmp_path_factory.mktemp("before")
    archive = folder / "code.tar"
    _git("archive", f"--output={archive}", found[-1].decode(), "services", "shared", "tidegate")
    subprocess.run(["tar", "-xf", archive, "-C", folder], check=True)
    # Its processes read their version from the installed package: here from this folder, which precedes this checkout.
    installed = folder / f"tidegate-{BEFORE}.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text(f"Metadata-Version: 2.1\nName: tidegate\nVersion: {BEFORE}\n")
    return folder


def _git(*arguments: str) -> bytes:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, check=False).stdout


class World:
    """A server, and processes of two versions that connect to it. Each has a log."""

    def __init__(self, server: OwnServer, before: Path, folder: Path) -> None:
        self.server, self.folder = server, folder
        self._code = {True: before, False: ROOT}
        self._running: dict[tuple[str, bool], subprocess.Popen[bytes]] = {}

    def run(self, *command: str, old: bool, user: str = "admin") -> str:
        """Run a command of one of the versions, as a person does."""
        done = subprocess.run(
            [sys.executable, "-P", *command], cwd=self.folder, env=self._environment(user, old), capture_output=True,
            text=True, timeout=patience_s(), check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def start(self, service: str, *, old: bool) -> None:
        record = catalog.find(service)
        own = {"METRICS_PORT": "0", "ANALYTICS_CHECKPOINT_S": "1", "SEARCH_INDEX": str(self.folder / "index")}
        environment = self._environment(record.identity, old) | dict(record.environment) | own
        log = self._log(service, old)
        self._running[service, old] = child.spawn(child.python(record.module), log=log, env=environment)

    def _log(self, service: str, old: bool) -> Path:
        return self.folder / f"{service}-{BEFORE if old else 'new'}.log"

    def is_ready(self, service: str) -> bool:
        """Return whether a pod of 0.2.0 has reported ready."""
        return "] ready " in self._log(service, old=True).read_text()

    async def end(self, service: str, *, old: bool) -> None:
        """As a kubelet ends a pod: SIGTERM, and its exit code is 0, unless it has only begun to be loaded."""
        process = self._running.pop((service, old))
        process.terminate()
        code = await asyncio.to_thread(process.wait, patience_s())
        assert code == 0 or (code == -signal.SIGTERM and not self._log(service, old).stat().st_size), service

    def kill(self) -> None:
        for process in self._running.values():
            process.kill()
            process.wait()

    def accounts_of_before(self) -> None:
        self.run("-c", ACCOUNTS, str(self.server.secrets), old=True)

    def _environment(self, user: str, old: bool) -> Mapping[str, str]:
        at = {"NATS_URL": self.server.url, "NATS_USER": user, "NATS_PASSWORD_FILE": str(self.server.secrets / user)}
        return os.environ | at | {"PYTHONPATH": str(self._code[old])}


@asynccontextmanager
async def of_before(before: Path, folder: Path) -> AsyncIterator[tuple[World, Client]]:
    """A cluster of the version before that films and analyses two cameras. The client is an admin's."""
    videos = footage.embedded(footage.cache() / f"footage-{footage.VERSION}")[:CAMERAS]
    for name in ("secrets", "bank"):
        (folder / name).mkdir(mode=0o700)
    server = OwnServer(folder)
    world = World(server, before, folder)
    world.accounts_of_before()
    async with server, Bank(videos, folder / "bank") as bank:
        world.run("-m", "tidegate", "setup", old=True)
        (folder / "rules.yaml").write_text(RULES)
        for n, video in enumerate(videos):
            world.run("-m", "tidegate", "camera", "add", f"cam-{n}", bank.url(video.name), old=True)
            world.run("-m", "tidegate", "rules", "set", f"cam-{n}", "rules.yaml", old=True)
        admin = await bus.connect(server.settings("admin"), "admin")
        try:
            for service in ("ingest", *WORKERS):
                world.start(service, old=True)
            # A process that starts as its rights are withdrawn ends with an error, as 0.2.0 does.
            await until(lambda: all(world.is_ready(service) for service in ("cv", "embed", "search")))
            yield world, admin
        finally:
            world.kill()
            await admin.close()


async def new_accounts(world: World) -> None:
    done = CliRunner().invoke(tidegate, ["cluster", "init", str(world.server.secrets)])
    assert done.exit_code == 0, done.output
    await twice_read(world)


async def twice_read(world: World) -> None:
    await world.server.reload()
    await world.server.reload()


async def more(admin: Client, kind: str, count: int) -> None:
    """Wait until EVENTS has `count` more of a kind."""
    wanted = await _events(admin, kind) + count
    async with asyncio.timeout(patience_s()):
        while await _events(admin, kind) < wanted:
            await asyncio.sleep(0.2)


async def _events(admin: Client, kind: str) -> int:
    state = (await admin.jetstream().stream_info(names.EVENTS, subjects_filter=names.event(kind, "*"))).state
    return sum((state.subjects or {}).values())


@pytest.mark.slow
@pytest.mark.long
async def test_pods_of_both_versions_hand_over(before: Path, tmp_path: Path) -> None:
    """In the order of docs/how-to/upgrade.md, each service is replaced while all others run."""
    async with of_before(before, tmp_path) as (world, admin):
        await more(admin, "tracks", 10)
        await new_accounts(world)
        # Meanwhile 0.2.0 films, detects and embeds; analytics and rules wait for the new pods.
        for kind in ("detections", "embeddings"):
            await more(admin, kind, 8)
        assert "created" in world.run("-m", "tidegate", "setup", "--wait", "60", old=False)
        for kind in ("detections", "embeddings"):
            await more(admin, kind, 8)
        for service in ("ingest", "cv", "embed", "analytics"):
            world.start(service, old=False)
            await until(lambda service=service: "metrics served" in _log(world, service))
            await world.end(service, old=True)
        # One pod has the index at a time: only one pod can mount its claim.
        await world.end("search", old=True)
        indexed = rows(tmp_path / "index")
        world.start("search", old=False)
        for kind in ("detections", "embeddings", "tracks"):
            await more(admin, kind, 8)
        await world.end("ingest", old=False)
        for stream, consumer in ((names.MEDIA, "cv"), (names.MEDIA, "embed"), (names.EVENTS, "search")):
            await settled(admin, stream, consumer)
        await assert_each_segment_processed_once(admin)
        assert 0 < indexed < rows(tmp_path / "index")
        assert "made anew" not in _log(world, "search")
        assert world.run("-m", "tidegate", "setup", old=False) == "nothing to change"
        for service in WORKERS:
            await world.end(service, old=False)


@pytest.mark.slow
@pytest.mark.long
async def test_pods_can_go_back_with_the_previous_accounts(before: Path, tmp_path: Path) -> None:
    """After the Job: 0.2.0 films, detects, embeds, follows and indexes on the streams of this version."""
    async with of_before(before, tmp_path) as (world, admin):
        await more(admin, "detections", 4)
        await new_accounts(world)
        world.run("-m", "tidegate", "setup", old=False)
        for service in ("ingest", *WORKERS):
            await world.end(service, old=True)
            world.start(service, old=False)
        await more(admin, "tracks", 4)
        for service in ("ingest", *WORKERS):
            await world.end(service, old=False)
        # What 0.2.0 could not give back as its rights were gone; this version lets it be for an hour.
        await admin.jetstream().purge_stream(f"KV_{names.LEASES}")
        world.accounts_of_before()
        await twice_read(world)
        for service in ("ingest", *WORKERS):
            world.start(service, old=True)
        for kind in ("detections", "embeddings", "tracks"):
            await more(admin, kind, 8)
        await world.end("ingest", old=True)
        for stream, consumer in ((names.MEDIA, "cv"), (names.MEDIA, "embed"), (names.EVENTS, "search")):
            await settled(admin, stream, consumer)
        await assert_each_segment_processed_once(admin)


def _log(world: World, service: str) -> str:
    log = world.folder / f"{service}-new.log"
    return log.read_text() if log.exists() else ""


async def assert_each_segment_processed_once(admin: Client) -> None:
    """Every segment has one event of each worker, no event is there twice, and no segment of an epoch is missing."""
    state = (await admin.jetstream().stream_info(names.MEDIA)).state
    stored = set(range(state.first_seq, state.last_seq + 1))
    assert len(stored) == state.messages
    ids: Counter[str] = Counter()
    busy: dict[str, Counter[int]] = {"detections": Counter(), "embeddings": Counter()}
    numbers: dict[tuple[str, str], list[int]] = {}
    async for subject, headers, data in _all(admin):
        ids[headers["ce-id"]] += 1
        kind = subject.split(".")[1]
        if kind in busy:
            event = msgspec.json.decode(data)
            busy[kind][event["segment"]["seq"]] += 1
            if kind == "detections":
                numbers.setdefault((event["camera"], event["segment"]["epoch"]), []).append(event["segment"]["n"])
    assert [id for id, count in ids.items() if count > 1] == []
    for kind, found in busy.items():
        assert found == dict.fromkeys(stored, 1), kind
    for found in numbers.values():
        assert sorted(found) == list(range(min(found), max(found) + 1))


async def _all(admin: Client) -> AsyncIterator[tuple[str, Mapping[str, str], bytes]]:
    async with Log(admin, names.EVENTS) as log:
        seq = 1
        while part := await log.read("events.*.*", seq):
            seq = part[-1].seq + 1
            for stored in part:
                yield stored.subject, stored.headers, stored.data
