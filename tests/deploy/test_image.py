"""Every service from its image: read-only, as its own user, without a shell; and video to events, workers killed.

`make image-test`: the images are built first, on a base of Debian's packages.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packaging.utils import canonicalize_name

from shared import bus
from shared.client import registry
from shared.contract.cameras import new_camera
from shared.contract.questions.whatif import WhatIfAnswer, decode
from shared.contract.topology import TopologySettings, apply
from tests.support.processes import images
from tests.support.processes.images import CPU, SERVICES, SMALL, Host
from tests.support.processes.video_flow import counted, stored, until_processed
from tests.support.worlds.whatif import CSV
from tidegate.demo import footage
from tidegate.demo.bank import Bank
from tidegate.local.server import NatsServer
from tools.image import sbom
from tools.image.build import KINDS, layers_mb, tag
from tools.image.engine import Engine

pytestmark = images.MARKS


@pytest.fixture(scope="session")
def engine() -> Engine:
    return images.engine()


@pytest_asyncio.fixture
async def host(engine: Engine, tmp_path: Path) -> AsyncIterator[Host]:
    async with NatsServer(tmp_path / "nats") as server:
        client = await bus.connect(server.settings("admin"), "admin")
        await apply(client.jetstream(), TopologySettings())
        await client.close()
        found = Host(engine, server, tmp_path)
        try:
            yield found
        finally:
            await asyncio.to_thread(found.close)


@pytest.mark.parametrize("name", [SMALL, CPU])
def test_an_image_is_small_and_has_only_what_it_runs(engine: Engine, name: str) -> None:
    layers = layers_mb(engine, name)
    assert sum(layers) < KINDS[name].most_mb
    # A node with the previous image fetches this much for a new version of the code.
    assert sum(layers[2:]) < 5
    config = json.loads(engine.run("podman", "image", "inspect", tag(name)))[0]
    assert config["Config"]["User"] == "10001:10001"
    assert config["Config"]["StopSignal"] == "SIGTERM"
    assert config["Healthcheck"]["Test"] == ["CMD", "python", "-m", "shared.runtime.probe"]
    labels = config["Config"]["Labels"]
    assert labels["org.opencontainers.image.version"] == tag(name).rpartition(":")[2]
    assert len(labels["org.opencontainers.image.revision"]) == 40
    run = ("podman", "run", "--rm", "--network=none", "--read-only", tag(name))
    assert engine.status(*run, "python", "-m", "pip") != 0
    # Only sources that a service reads; no test, and no password of a checkout.
    listing = "import shared, pathlib; print(*pathlib.Path(shared.__file__).parents[1].iterdir())"
    listed = engine.run(*run, "python", "-c", listing)
    assert "tests" not in {Path(each).name for each in listed.split()}


@pytest.mark.parametrize("name", [SMALL, CPU])
def test_the_bill_of_materials_matches_the_image(engine: Engine, name: str) -> None:
    """Python and dpkg in the image list the packages."""
    text = sbom.of_image(engine, name)
    assert text == sbom.of_image(engine, name)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    listed = {(c["name"], c["version"]) for c in json.loads(text)["components"]}
    run = ("podman", "run", "--rm", "--network=none", tag(name))
    packages = "import importlib.metadata as m; print(*(f'{d.name}=={d.version}' for d in m.distributions()))"
    held = {tuple(each.split("==")) for each in engine.run(*run, "python", "-c", packages).split()}
    held |= {tuple(each.split("\t")) for each in engine.run(*run, "dpkg-query", "--show").splitlines()}
    assert {(canonicalize_name(n.partition(":")[0]), v) for n, v in held} <= {
        (canonicalize_name(n), v) for n, v in listed
    }
    assert len(listed) == len(held) + 1


def test_the_console_of_a_cluster_simulates(engine: Engine) -> None:
    """The container is read-only and has no home: compiled code lasts as long as the process."""
    run = ("podman", "run", "--rm", "--interactive", "--network=none", "--read-only", "--tmpfs=/tmp:rw", tag(SMALL))
    request = {"service": "cv", "arrivals": "csv", "csv": CSV, "service_rate": 1.5}
    output = engine.run(*run, "python", "-m", "tidegate.whatif", stdin=json.dumps(request) + "\n", quiet=True)
    answer = decode(output.splitlines()[-1].encode())
    assert isinstance(answer, WhatIfAnswer) and answer.table, answer


@pytest.mark.parametrize("service", SERVICES)
async def test_a_service_runs_from_its_image_and_drains(host: Host, service: str) -> None:
    container = host.start(service)
    await container.until_healthy()
    assert container.inspect("State")["Status"] == "running"
    assert await container.stop() == 0, container.log
    assert "Traceback" not in container.log


@pytest.mark.parametrize("service", ["cv", "ingest"])
async def test_a_container_stopped_during_its_start_ends_immediately(host: Host, service: str) -> None:
    """The first process of a container is one that SIGTERM does not end by itself."""
    container = host.start(service)
    while container.inspect("State")["Status"] == "running":
        container.kill("TERM", must=False)
        await asyncio.sleep(0.05)
    assert container.inspect("State")["ExitCode"] == 143, container.log


async def test_containers_turn_video_into_events_and_lose_none(host: Host, tmp_path: Path) -> None:
    server = host.server
    videos = footage.embedded(footage.cache() / f"footage-{footage.VERSION}")
    admin = await bus.connect(server.settings("admin"), "admin")
    async with Bank(videos, tmp_path / "bank") as bank:
        for n, video in enumerate(videos):
            await registry.put(admin.jetstream(), f"cam-{n}", *new_camera(bank.url(video.name)))
        ingest = host.start("ingest")
        workers = [host.start("cv", CV_THREADS="1") for _ in range(2)]
        await stored(admin, 20)
        workers[0].kill("KILL")
        workers.append(host.start("cv", CV_THREADS="1"))
        await stored(admin, 60)
        assert await workers[1].stop() == 0
        assert await ingest.stop() == 0
        await until_processed(admin)
    seen = await counted(admin)
    await admin.close()
    assert seen.segments >= 60
    assert (seen.lost, seen.duplicated, seen.waiting, seen.dead_lettered) == (0, 0, 0, 0)
