"""A cluster of 0.2.0 becomes one of this version, in whatever order its parts come: nothing is lost or doubled.

`upgrade/` has what 0.2.0 left: its accounts, streams, consumers, entries of buckets and a checkpoint. The server,
`tidegate cluster init`, the Job's command and the services are real.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import re
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import nats
import pytest
import pytest_asyncio
import yaml
from click.testing import CliRunner
from nats.aio.client import Client
from nats.aio.msg import Msg

from services.analytics.partitions import checkpoint
from shared import bus
from shared.bus.log import Log
from shared.contract import catalog, names
from shared.contract.events import Tracks
from shared.contract.rights import identities
from shared.contract.work import jobs
from tests.support.paths import ROOT
from tests.support.processes.service_process import ServiceProcess
from tests.support.servers.own_server import OwnServer
from tests.support.video.walking_people import START, detections, publish
from tests.support.waiting import patience_s
from tests.support.worlds import analytics_world as analytics
from tests.support.worlds import jobs_world
from tests.support.worlds.older_data import ACROSS, CAMERA, Older, create
from tidegate.commands import tidegate
from tidegate.demo import footage
from tidegate.demo.bank import Bank

LEFT = ROOT / "tests/contract/upgrade"
JOB = ROOT / "deploy/kubernetes/base/setup.yaml"
SEGMENTS = 8
SPAN: dict[str, Any] = {"camera": "lobby", "start": START, "end": START + dt.timedelta(seconds=9)}
QUESTIONS = [jobs.Ask(id=f"q-{n}", question=f"Who is there? {n}", **SPAN) for n in (1, 2)]
WAITING: list[jobs.Job] = [
    *QUESTIONS,
    jobs.Caption(**SPAN),
    jobs.Verify(camera="lobby", incident="i-1", rule="in", prompt="Is a person there?", segments=[1]),
]
SERVICES = ("ingest", "embed", "analytics")


class Cluster:
    """A server that 0.2.0 set up, and the messages in flight in its processes.

    held: those of embed, and a job of vlm.
    """

    def __init__(self, server: OwnServer, older: Older) -> None:
        self.server, self.older = server, older
        self.held: list[Msg] = []

    async def old_client(self, identity: str) -> Client:
        """Connect as a process of 0.2.0 that has had no new configuration since."""
        password = (self.server.secrets / identity).read_text()
        prefix = f"_INBOX_{identity}".encode()
        return await nats.connect(
            self.server.url, user=identity, password=password, inbox_prefix=prefix, reconnect_time_wait=0.1,
            max_reconnect_attempts=-1,
        )  # fmt: skip

    async def accounts(self) -> None:
        """`tidegate cluster init` on the folder of 0.2.0, and the servers read it."""
        done = CliRunner().invoke(tidegate, ["cluster", "init", str(self.server.secrets)])
        assert done.exit_code == 0, done.output
        # An account that is new works once it was read twice.
        await self.server.reload()
        await self.server.reload()

    async def job(self) -> str:
        """Run the Job of this version."""
        (container,) = yaml.safe_load(JOB.read_text())["spec"]["template"]["spec"]["containers"]
        _, *command = container["command"]
        done = await self.server.tidegate(*command)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


@pytest.fixture(scope="module")
def older() -> Older:
    return msgspec.json.decode((LEFT / "0.2.0.json").read_bytes(), type=Older)


@pytest_asyncio.fixture
async def cluster(tmp_path: Path, older: Older) -> AsyncIterator[Cluster]:
    """The cluster with the accounts of 0.2.0, and existing passwords."""
    folder = tmp_path / "secrets"
    folder.mkdir()
    block = (LEFT / "0.2.0.accounts.conf").read_text()
    for identity, password in identities.new_passwords(re.findall(r'"PASSWORD-OF-(.+?)"', block)).items():
        (folder / identity).write_text(password)
        block = block.replace(f'"PASSWORD-OF-{identity}"', f'"{password}"')
    (folder / "accounts.conf").write_text(block)
    async with OwnServer(tmp_path) as server:
        yield Cluster(server, older)


@asynccontextmanager
async def left(cluster: Cluster, lobby: str) -> AsyncIterator[None]:
    """The state that 0.2.0 leaves: video, jobs and events are stored, and some are in flight in its workers.

    lobby: a URL.
    """
    older = cluster.older
    admin = await cluster.old_client("admin")
    await create(admin, older)
    js = admin.jetstream()
    for key, value in older.entries.items():
        bucket, _, name = key.partition("/")
        await (await js.key_value(bucket)).put(name, value.replace("rtsp://127.0.0.1:8554/lobby", lobby).encode())
    await jobs_world.film(admin, SEGMENTS)
    for job in WAITING:
        await js.publish(jobs.subject(job), jobs.encode(job), headers={"Nats-Msg-Id": str(job.message_id)})
    letter = {"Dlq-Reason": "refused", "Dlq-Stream": "MEDIA", "Dlq-Stream-Seq": "1", "Dlq-Subject": "media.lobby"}
    await js.publish(names.dead_letters("cv"), b"video", headers=letter)
    heard = checkpoint.unpacked(older.value(f"camera.0.{CAMERA}")).last_active
    start = dt.datetime.fromtimestamp(heard, dt.UTC) + dt.timedelta(minutes=1)
    await publish(admin, detections([ACROSS], 30, camera=CAMERA, epoch="new", start=start))
    workers = [await cluster.old_client(identity) for identity in ("embed", "vlm")]
    done, *cluster.held = await _taken(workers[0], "embed", names.MEDIA, 3)
    await done.ack_sync()
    cluster.held += await _taken(workers[1], "vlm-ask", names.VLM, 1)
    try:
        yield
    finally:
        for client in (admin, *workers):
            await client.close()


async def _taken(client: Client, consumer: str, stream: str, count: int) -> Sequence[Msg]:
    pulled = await client.jetstream().pull_subscribe_bind(consumer, stream)
    return await pulled.fetch(count)


@asynccontextmanager
async def pods(cluster: Cluster, folder: Path, *services: str) -> AsyncIterator[dict[str, ServiceProcess]]:
    """Services of this version. One that ends is started again, as a kubelet does."""
    folder.mkdir()
    running: dict[str, ServiceProcess] = {}

    def start(service: str) -> None:
        identity = catalog.find(service).identity
        password = str(cluster.server.secrets / identity)
        at = {"NATS_URL": cluster.server.url, "NATS_USER": identity, "NATS_PASSWORD_FILE": password}
        running[service] = ServiceProcess(service, at, folder, ANALYTICS_CHECKPOINT_S="1", ANALYTICS_REORDER_S="2")

    async def keep() -> None:
        while True:
            for service in services:
                if service not in running or running[service].process.poll() is not None:
                    start(service)
            await asyncio.sleep(0.5)

    keeping = asyncio.create_task(keep())
    try:
        yield running
    finally:
        keeping.cancel()
        await asyncio.wait([keeping])
        for pod in running.values():
            await pod.end()


@pytest.mark.slow
@pytest.mark.long  # the four take half a minute of a core
@pytest.mark.parametrize("order", ["accounts job pods", "job accounts pods", "pods accounts job", "pods job accounts"])
async def test_an_upgrade_in_any_order_loses_nothing(cluster: Cluster, tmp_path: Path, order: str) -> None:
    video = footage.embedded(footage.cache() / f"footage-{footage.VERSION}")[0]
    (tmp_path / "bank").mkdir()
    before = {path.name: path.read_text() for path in cluster.server.secrets.iterdir() if "." not in path.name}
    async with Bank([video], tmp_path / "bank") as bank, left(cluster, bank.url(video.name)):
        steps = iter(order.split())
        for step in steps:
            if step == "pods":
                break
            await getattr(cluster, step)()
        async with pods(cluster, tmp_path / "logs", *SERVICES) as running:
            for step in steps:
                # Each has met what is not there yet.
                await _until_started(running)
                await getattr(cluster, step)()
            assert {name: (cluster.server.secrets / name).read_text() for name in before} == before
            admin = await bus.connect(cluster.server.settings("admin"), "admin")
            try:
                await _nothing_is_lost(admin, cluster)
                assert await cluster.job() == "nothing to change"
            finally:
                await admin.close()


async def _until_started(running: dict[str, ServiceProcess]) -> None:
    async with asyncio.timeout(patience_s()):
        while len(running) < len(SERVICES) or not all("metrics served" in pod.log for pod in running.values()):
            await asyncio.sleep(0.2)


async def _nothing_is_lost(admin: Client, cluster: Cluster) -> None:
    js = admin.jetstream()
    assert await _jobs(admin) == {"VLM": 1, "ASKS": 2, "CAPTIONS": 1}
    requests = [msgspec.json.decode((await js.get_msg(names.ASKS, n)).data or b"")["question"] for n in (1, 2)]
    assert requests == [job.question for job in QUESTIONS]
    # Consumers continue: acknowledged messages are not done again; those in flight and the rest are done.
    embedded = await _segments(admin, lambda found: set(range(2, SEGMENTS + 1)) <= set(found))
    assert {n: count for n, count in embedded.items() if n <= SEGMENTS} == dict.fromkeys(range(2, SEGMENTS + 1), 1)
    # Tracks continue under their ids, and the camera's rule holds.
    was = checkpoint.unpacked(cluster.older.value(f"camera.0.{CAMERA}"))
    expected = [*(object.id for object in was.followed.values()), f"{was.id_prefix}-{was.count + 1}"]
    total = await analytics.until(admin, lambda found: len(_ended(found)) >= len(expected))
    found = [event for _, event in total]
    assert _ended(found) == expected
    assert len(analytics.incidents(found, "start", "in")) == 1
    # The camera is filmed, the other's password is there, and the dead letter.
    async with asyncio.timeout(patience_s()):
        while (await js.stream_info(names.MEDIA)).state.last_seq < SEGMENTS + 2:
            await asyncio.sleep(0.1)
    assert b"viewer:secret" in ((await (await js.key_value(names.CREDENTIALS)).get("gate")).value or b"")
    letters = await cluster.server.tidegate("dlq", "list", "--json")
    assert [letter["reason"] for letter in map(msgspec.json.decode, letters.stdout.splitlines())] == ["refused"]


async def _jobs(admin: Client) -> dict[str, int]:
    return {s: await jobs_world.waiting(admin, s) for s in (names.VLM, names.ASKS, names.CAPTIONS)}


async def _segments(admin: Client, enough: Any) -> Counter[int]:
    """Return the number of embeddings events of each segment."""
    async with asyncio.timeout(patience_s()):
        while True:
            found: Counter[int] = Counter()
            async with Log(admin, names.EVENTS) as log:
                seq = 1
                while part := await log.read(names.event("embeddings", "*"), seq):
                    seq = part[-1].seq + 1
                    found.update(msgspec.json.decode(stored.data)["segment"]["seq"] for stored in part)
            if enough(found):
                return found
            await asyncio.sleep(0.2)


def _ended(found: list[Any]) -> list[str]:
    return [track.id for event in found if type(event) is Tracks for track in event.tracks if track.state == "end"]


async def test_old_workers_continue_under_the_new_rights(cluster: Cluster) -> None:
    """Old and new pods run together for a while: an old worker finishes its messages in flight, and takes more."""
    async with left(cluster, "rtsp://127.0.0.1:8554/lobby"):
        await cluster.accounts()
        await cluster.job()
        worker = await cluster.old_client("embed")
        js = worker.jetstream()
        try:
            for message in cluster.held[:2]:
                await js.publish(names.event("embeddings", "lobby"), b"{}", headers={"Nats-Msg-Id": message.reply})
                await worker.request(message.reply, b"+ACK")
            for message in await _taken(worker, "embed", names.MEDIA, SEGMENTS - 3):
                await message.ack_sync()
            info = await js.consumer_info(names.MEDIA, "embed")
            assert (info.ack_floor and info.ack_floor.stream_seq, info.num_pending) == (SEGMENTS, 0)
        finally:
            await worker.close()


async def test_clients_of_0_2_0_connect_with_the_same_password(cluster: Cluster) -> None:
    names_of_before = [path.name for path in cluster.server.secrets.iterdir() if "." not in path.name]
    await cluster.accounts()
    for identity in names_of_before:
        await (await cluster.old_client(identity)).close()
    assert {"ingest", "cv", "viewer", "admin"} <= set(names_of_before)
    assert set(names_of_before) <= set(identities.permissions())
