"""`tidegate workers` on several machines: real processes that share the replicas of vlm, for a real server."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from nats.aio.client import Client
from nats.aio.msg import Msg

from shared.contract import names
from shared.contract.work import stats
from tests.support.paths import ROOT
from tests.support.processes.command_line import COMMAND
from tests.support.waiting import patience_s, until
from tidegate.local.server import NatsServer

SPEED = "60"
# Of one replica, by the file that scales by the pending count.
LAG = 15


class Machine:
    """A `tidegate workers vlm`. The model is absent: a worker without jobs needs none."""

    def __init__(self, server: NatsServer, folder: Path, name: str, most: int) -> None:
        self.name = name
        self._log = folder / f"{name}.log"
        command = [*COMMAND, "workers", "vlm", "--max", str(most), "--name", name, "--speed", SPEED]
        command += ["--scaled-object", str(ROOT / "deploy/keda/vlm.yaml")]
        env = os.environ | {"NATS_URL": server.url, "WORKERS_PASSWORDS": str(server.secrets), "LOG_FORMAT": "json"}
        with self._log.open("ab") as output:
            self.process = subprocess.Popen(
                command,
                env=env | {"VLM_URL": "http://127.0.0.1:9/v1", "VLM_MODEL": "m", "LEASE_S": "2"},
                stdout=output,
                stderr=output,
            )

    @property
    def text(self) -> str:
        return self._log.read_text()

    @property
    def part(self) -> int:
        """The replicas that it runs, by its log."""
        lines = [json.loads(line) for line in self.text.splitlines() if line.startswith("{")]
        return next((line["after"] for line in reversed(lines) if line["event"] == "this machine's part"), 0)

    async def end(self, sig: signal.Signals) -> int:
        self.process.send_signal(sig)
        return await asyncio.to_thread(self.process.wait, patience_s())


Start = Callable[[str, int], Machine]


@pytest_asyncio.fixture
async def start(server: NatsServer, tmp_path: Path) -> AsyncIterator[Start]:
    machines: list[Machine] = []

    def go(name: str, most: int) -> Machine:
        machines.append(Machine(server, tmp_path, name, most))
        return machines[-1]

    yield go
    for machine in machines:
        if machine.process.poll() is None:
            await machine.end(signal.SIGKILL)


async def hold(admin: Client, count: int) -> list[Msg]:
    """Publish jobs, and take them: they are work in flight until they are acknowledged."""
    js = admin.jetstream()
    stream, consumer = names.VLM_WORK[0]
    for i in range(count):
        await js.publish(names.job("verify", "lobby"), b"{}", headers={"Nats-Msg-Id": f"job-{i}"})
    taking = await js.pull_subscribe_bind(consumer, stream)
    jobs: list[Msg] = []
    while len(jobs) < count:
        jobs += await taking.fetch(count - len(jobs), timeout=patience_s())
    return jobs


@pytest.mark.slow
async def test_machines_share_the_replicas_and_take_over_for_one_that_dies(
    server: NatsServer, admin: Client, start: Start
) -> None:
    replicas: set[str] = set()

    async def beat(message: Msg) -> None:
        replicas.add(stats.decode(message.data).replica)

    await admin.subscribe("scale.vlm.>", cb=beat)
    a, b = start("a", 2), start("b", 4)
    await until(lambda: all('"most": {"a": 2, "b": 4}' in m.text for m in (a, b)))
    jobs = await hold(admin, 3 * LAG)
    keeping = asyncio.create_task(in_progress(jobs))
    await until(lambda: (a.part, b.part) == (1, 2))
    # Each replica is heard under a name of its own, by its own user.
    await until(lambda: {"a_vlm-0", "b_vlm-0", "b_vlm-1"} <= replicas)

    await a.end(signal.SIGKILL)
    await until(lambda: b.part == 3)
    again = start("a", 2)
    await until(lambda: (again.part, b.part) == (1, 2))
    twin = start("b", 1)
    assert await asyncio.to_thread(twin.process.wait, patience_s()) == 1
    assert "another 'tidegate workers' runs vlm as b: give this one another --name" in b.text

    # One that stops leaves its part before it drains.
    assert await again.end(signal.SIGTERM) == 0
    await until(lambda: b.part == 3)
    keeping.cancel()
    await asyncio.gather(*(job.ack() for job in jobs))
    await until(lambda: b.part == 0)
    assert await b.end(signal.SIGTERM) == 0
    assert "Violation" not in server.log.read_text()
    # Workers log to the standard error of the command.
    assert '"service": "vlm"' in b.text


@pytest.mark.slow
async def test_without_the_server_a_machine_keeps_its_part(server: NatsServer, admin: Client, start: Start) -> None:
    a, b = start("a", 1), start("b", 1)
    jobs = await hold(admin, 2 * LAG)
    keeping = asyncio.create_task(in_progress(jobs))
    await until(lambda: (a.part, b.part) == (1, 1))
    keeping.cancel()
    changes = [m.text.count("this machine's part") for m in (a, b)]
    await server.stop()
    await until(lambda: all("nats disconnected" in m.text for m in (a, b)))
    await asyncio.sleep(5.0)  # clock: more than two leases
    assert [m.text.count("this machine's part") for m in (a, b)] == changes
    await server.start()
    await until(lambda: all("nats reconnected" in m.text for m in (a, b)))


async def in_progress(jobs: list[Msg]) -> None:
    while True:
        await asyncio.gather(*(job.in_progress() for job in jobs))
        await asyncio.sleep(5.0)


@pytest.mark.slow
def test_a_start_without_passwords_names_the_remedy(tmp_path: Path) -> None:
    def refusal(*arguments: str, **env: Any) -> str:
        process = subprocess.run(
            [*COMMAND, "workers", *arguments],
            env=os.environ | env,
            capture_output=True,
            text=True,
            timeout=patience_s(),
            check=False,
        )
        assert process.returncode != 0
        return process.stderr

    assert "--passwords is not set" in refusal("cv", NATS_URL="nats://127.0.0.1:9")
    url = {"NATS_URL": "nats://127.0.0.1:9", "CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert "copy the file cv there from the folder that 'tidegate accounts' made" in refusal("cv", **url)
    assert "ingest is not scaled: run 'python -m services.ingest', or take cv, embed, vlm" in refusal("ingest", **url)
    assert "--scaled-object is for one service" in refusal("cv", "embed", "--scaled-object", "x.yaml", **url)
