"""compose.yaml: in step with the code that it runs; from an address to the first event, by both programs for it."""

from __future__ import annotations

import asyncio
import functools
import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import yaml

from services.analytics.settings import AnalyticsSettings
from services.console.settings import ConsoleSettings
from services.cv.settings import CvSettings
from services.embed.settings import EmbedSettings
from services.ingest.settings import IngestSettings
from services.pictures.settings import PicturesSettings
from services.recorder.settings import RecorderSettings
from services.search.settings import SearchSettings
from services.vlm.settings import VlmSettings
from services.webhook.settings import WebhookSettings
from shared import bus
from shared.contract.rights.identities import permissions
from shared.runtime import settings
from shared.runtime.ports import free_port
from shared.runtime.settings import BusSettings
from tests.support.kube.deploy_manifests import SHIPPED, VERSION, container_of, documents, workloads
from tests.support.paths import ROOT
from tests.support.processes import images
from tests.support.waiting import patience_s
from tidegate.demo import footage
from tidegate.demo.bank import Bank
from tools.image.engine import Engine

COMPOSE, ON_GPU = (yaml.safe_load((ROOT / name).read_text()) for name in ("compose.yaml", "compose.gpu.yaml"))
MODELS: dict[str, type[Any]] = {
    "ingest": IngestSettings,
    "analytics": AnalyticsSettings,
    "search": SearchSettings,
    "cv": CvSettings,
    "cv-gpu": CvSettings,
    "embed": EmbedSettings,
    "embed-gpu": EmbedSettings,
    "vlm": VlmSettings,
    "vlm-front": VlmSettings,
    "webhook": WebhookSettings,
    "console": ConsoleSettings,
    "recorder": RecorderSettings,
    "pictures": PicturesSettings,
}


# ---- what it says


def both() -> dict[str, Any]:
    """The services of compose.yaml, and those that compose.gpu.yaml makes of them, as NAME-gpu."""
    found = dict(COMPOSE["services"])
    for name, more in ON_GPU["services"].items():
        under = found.get(name, {})
        lists = {key: under.get(key, []) + more.get(key, []) for key in ("volumes",)}
        maps = {key: under.get(key, {}) | more.get(key, {}) for key in ("environment",)}
        found[f"{name}-gpu" if under else name] = under | more | lists | maps
    return found


SERVICES = both()


def identity_of(name: str) -> str:
    return name.removesuffix("-gpu")


def given(name: str) -> dict[str, str]:
    """A container's environment without any user settings."""
    return {key: re.sub(r"\$\{[A-Z_]+:-(.*?)\}", r"\1", value) for key, value in SERVICES[name]["environment"].items()}


@pytest.mark.parametrize("name", MODELS)
def test_variables_are_settings(name: str, tmp_path: Path) -> None:
    environment = given(name)
    fields = {f.upper() for f in MODELS[name].__struct_fields__}
    assert {variable.removesuffix("_FILE") for variable in environment} <= fields
    if name == "webhook":
        environment["WEBHOOK_URL"] = "https://example.org/alerts"
    (tmp_path / "password").write_text("p")
    loaded = settings.load(MODELS[name], environment | {"NATS_PASSWORD_FILE": str(tmp_path / "password")})
    assert loaded.nats_user == identity_of(name) in permissions()


@pytest.mark.parametrize("name", MODELS)
def test_a_container_has_its_own_password_and_no_other(name: str) -> None:
    mounted = {volume.split(":")[0] for volume in SERVICES[name]["volumes"]}
    others = set(permissions()) | {"secrets", "server", "store"}
    assert mounted & others == {identity_of(name)}
    assert f"{identity_of(name)}:/identities/{identity_of(name)}" in SERVICES["accounts"]["volumes"]


def test_nothing_has_more_rights_than_it_needs() -> None:
    for name, service in SERVICES.items():
        assert service["cap_drop"] == ["ALL"] and service["security_opt"] == ["no-new-privileges:true"]
        assert service.get("read_only") or name == "vllm"
        assert "user" not in service or name in ("accounts", "admin", "dashboards", "vllm")
        for port in service.get("ports", []):
            assert name in ("nats", "console", "prometheus", "grafana") and port.startswith("127.0.0.1:")
        shared = "service:nats" if name == "nats-exporter" else "none"
        assert "privileged" not in service and service.get("network_mode", shared) == shared


def test_images_are_of_this_version_and_each_is_built_once() -> None:
    built = [s["image"] for file in (COMPOSE, ON_GPU) for s in file["services"].values() if "build" in s]
    assert sorted(built) == sorted({s["image"] for s in SERVICES.values() if "/" not in s["image"]})
    assert set(built) == {f"tidegate-cpu:{VERSION}", f"tidegate:{VERSION}"}


def test_containers_stop_in_the_time_of_pods() -> None:
    pods = workloads(SHIPPED)
    for name in MODELS:
        spec = pods[f"tidegate-{identity_of(name)}"]["spec"]["template"]["spec"]
        stop_s = float(SERVICES[name].get("stop_grace_period", "10s").removesuffix("s"))
        # The front has no job in flight.
        drain_s = 0 if name == "vlm-front" else drain_of(name)
        assert drain_s < stop_s <= spec["terminationGracePeriodSeconds"], name


def drain_of(name: str) -> float:
    """Seconds that a service may take to end."""
    environment = given(name) | {"WEBHOOK_URL": "https://example.org"}
    environment.pop("NATS_PASSWORD_FILE")
    loaded = settings.load(MODELS[name], environment)
    return max((getattr(loaded, f) for f in loaded.__struct_fields__ if f.endswith("_grace_s")), default=0)


def test_vllm_and_its_worker_have_the_same_settings() -> None:
    worker = given("vlm")
    arguments = dict(a.split("=", 1) for a in SERVICES["vllm"]["command"])
    assert arguments["--model"] == worker["VLM_MODEL"]
    assert arguments["--max-model-len"] == worker["VLM_CONTEXT"]
    assert arguments["--max-num-seqs"] == worker["VLM_BATCH_SIZE"]
    assert json.loads(arguments["--limit-mm-per-prompt"]) == {"image": int(worker["VLM_FRAMES"])}
    pod = workloads(documents((ROOT / "deploy/kubernetes/base/vlm.yaml").read_text()))["tidegate-vlm"]
    assert container_of(pod)["name"] == "vlm"
    (sidecar,) = pod["spec"]["template"]["spec"]["initContainers"]
    assert SERVICES["vllm"]["image"].partition(":")[0] == sidecar["image"]


# ---- what it does


class Project:
    """compose.yaml by one of the programs that read it, in the store of the images that were built here."""

    def __init__(self, program: str, engine: Engine, folder: Path) -> None:
        self.name = f"compose{uuid4().hex[:6]}"
        self.port = free_port(0)
        self._engine = engine
        self._socket = folder / "podman.sock"
        self._service: subprocess.Popen[bytes] | None = None
        self._program = [program]
        if program == "podman-compose":
            self._program = [sys.executable, "-m", "podman_compose"]
        else:
            # Docker's own program, on podman's answer to Docker's daemon.
            command = ["podman", "system", "service", "--time=0", f"unix://{self._socket}"]
            self._service = subprocess.Popen(command, env=engine.environment, stderr=subprocess.DEVNULL)

    def __call__(self, *arguments: str, **environment: str) -> str:
        """Return its standard output."""
        given = self._engine.environment | {
            "COMPOSE_PROJECT_NAME": self.name,
            "NATS_PORT": str(self.port),
            "DOCKER_HOST": f"unix://{self._socket}",
        }
        done = subprocess.run(
            [*self._program, *arguments], cwd=ROOT, env=given | environment, text=True, capture_output=True, timeout=300
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def admin(self, *command: str) -> str:
        """The last line that a command says; podman-compose says what it starts before it."""
        return self("run", "--rm", "admin", *command).splitlines()[-1]

    @property
    def gateway(self) -> str:
        """The address of this machine on its network."""
        inspected = self._engine.run("podman", "network", "inspect", f"{self.name}_default", quiet=True)
        return str(json.loads(inspected)[0]["subnets"][0]["gateway"])

    def close(self) -> None:
        with suppress(AssertionError):
            self("down", "--volumes", "--timeout", "1")
        if self._service:
            self._service.terminate()
            self._service.wait()


@functools.cache
def missing(program: str) -> bool:
    if program == "podman-compose":
        return subprocess.run([sys.executable, "-c", "import podman_compose"], capture_output=True).returncode != 0
    return not shutil.which(program)


@pytest.fixture(params=["podman-compose", "docker-compose"])
def project(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Project]:
    if missing(request.param):
        remedy = {"podman-compose": "pip install 'tidegate[test]'", "docker-compose": "apt-get install docker-compose"}
        pytest.skip(f"{request.param} is not installed: {remedy[request.param]}")
    instance = Project(request.param, images.engine(), tmp_path)
    try:
        yield instance
    finally:
        instance.close()


async def first_detections(project: Project, password: str) -> dict[str, Any]:
    """Wait for the first detections as a user's app does."""
    found = BusSettings(nats_url=f"nats://127.0.0.1:{project.port}", nats_user="viewer", nats_password=password)
    client = await bus.connect(found, "viewer")
    try:
        subscription = await client.subscribe("events.detections.>")
        message = await subscription.next_msg(timeout=patience_s())
        event: dict[str, Any] = json.loads(message.data)
        return event
    finally:
        await client.close()


async def test_from_an_address_to_the_first_event(project: Project, tmp_path: Path) -> None:
    # Everything starts without a camera, and waits for one.
    await asyncio.to_thread(project, "up", "--no-build", "--detach")
    videos = footage.embedded(footage.cache() / f"footage-{footage.VERSION}")
    async with Bank(videos, tmp_path / "bank", host=project.gateway) as bank:
        began = time.monotonic()
        address = bank.url(videos[0].name).replace("rtsp://", "rtsp://viewer:s3cret-word@")
        await asyncio.to_thread(project, "up", "--no-build", "--detach", CAMERA=address)
        password = project.admin("cat", "/secrets/nats/viewer")
        event = await first_detections(project, password)
        print(f"{project.name}: {time.monotonic() - began:.1f} s from the camera's address to the first event")
        assert event["camera"] == "camera" and event["model"] == "ssd_mobilenet_v2_coco"
        listed = json.loads(project.admin("tidegate", "camera", "list", "--json"))
        assert listed and "s3cret-word" not in json.dumps(listed)
        # A service knows its own password, and can change nothing of its container.
        assert project("exec", "-T", "cv", "ls", "/run/secrets/nats").split() == ["password"]
        for refused in (["ls", "/secrets"], ["touch", "/opt/tidegate/x"], ["cat", "/identities/ingest/password"]):
            with pytest.raises(AssertionError):
                project("exec", "-T", "cv", *refused)
        # Stopped and started again, also without the variable: cameras, passwords and events are there.
        await asyncio.to_thread(project, "down")
        await asyncio.to_thread(project, "up", "--no-build", "--detach")
        again = await first_detections(project, password)
        assert again["segment"]["seq"] > event["segment"]["seq"]
        assert "camera" in project("run", "--rm", "admin", "tidegate", "camera", "list")
    for name in ("ingest", "cv", "analytics"):
        assert "s3cret-word" not in project("logs", name)


for mark in images.MARKS:
    test_from_an_address_to_the_first_event = mark(test_from_an_address_to_the_first_event)
