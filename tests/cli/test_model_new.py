"""`tidegate model new`: the package works as it is, in its own test and in a real worker."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import msgspec
import pytest
import yaml
from nats.aio.client import Client

from shared.contract import names
from shared.contract.events import Detections
from shared.contract.segment import to_headers
from shared.models import plugins
from tests.support.plugins import install
from tests.support.processes.command_line import tidegate
from tests.support.processes.cv_worker import segment_head
from tests.support.processes.service import settled
from tests.support.video import footage
from tidegate.local.server import NatsServer


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A new package, and in `site` next to it the same as pip would install it."""
    folder = tmp_path / "my_detector"
    done = tidegate(tmp_path, "model", "new", "my_detector", "--folder", str(folder))
    assert f"created {folder}/pyproject.toml" in done.stdout and "CV_MODEL=my_detector tidegate up" in done.stdout
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    site = tmp_path / "site"
    site.mkdir()
    entries = {name: function.split(":")[1] for name, function in project["entry-points"][plugins.DETECTORS].items()}
    code = (folder / "my_detector.py").read_text()
    install(site, "my_detector", code, group=plugins.DETECTORS, version=project["version"], **entries)
    return folder


def with_site(package: Path) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(package.parent / "site"), str(Path.cwd())])}


@pytest.mark.slow
def test_its_own_test_passes(package: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--rootdir", str(package), str(package)]
    done = subprocess.run(command, env=with_site(package), capture_output=True, text=True)
    assert done.returncode == 0 and "[100%]" in done.stdout, done.stdout + done.stderr


def test_its_component_names_the_model(package: Path) -> None:
    component = yaml.safe_load((package / "deploy" / "kustomization.yaml").read_text())
    deployment, scaled = component["patches"]
    (container,) = yaml.safe_load(deployment["patch"])["spec"]["template"]["spec"]["containers"]
    assert container["env"] == [{"name": "CV_MODEL", "value": "my_detector"}]
    shipped = yaml.safe_load(Path("deploy/keda/cv.yaml").read_text())
    for operation in yaml.safe_load(scaled["patch"]):
        value = shipped
        for step in operation["path"].strip("/").split("/"):
            value = value[int(step) if step.isdigit() else step.replace("~1", "/")]
        assert value == operation["value"]


@pytest.mark.slow
async def test_a_worker_runs_it(server: NatsServer, admin: Client, package: Path) -> None:
    js = admin.jetstream()
    video = footage.make(package.parent / "second.mp4", frames=5).read_bytes()
    await js.publish(names.media("lobby"), video, headers=to_headers(segment_head(0, frames=5, size=(320, 240))))
    environment = with_site(package) | server.environment("cv") | {"CV_MODEL": "my_detector"}
    worker = await asyncio.create_subprocess_exec(sys.executable, "-m", "services.cv", env=environment)
    try:
        await settled(admin, "MEDIA", "cv")
    finally:
        worker.terminate()
        assert await worker.wait() == 0
    message = await js.get_last_msg("EVENTS", names.event("detections", "lobby"))
    event = msgspec.json.decode(message.data or b"", type=Detections)
    assert event.model == "my_detector-0.1.0" and event.frames


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["My-Detector"], "is no name of a module"),
        (["openvino"], "choose another one"),
        (["numpy"], "choose another one"),
        (["mine", "--folder", "."], "exists already"),
    ],
)
def test_a_wrong_turn_is_named(tmp_path: Path, arguments: list[str], message: str) -> None:
    done = tidegate(tmp_path, "model", "new", *arguments, check=False)
    assert done.returncode == 1 and message in done.stderr and "Traceback" not in done.stderr
