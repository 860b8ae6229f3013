"""The images of deploy/Dockerfile for tests, built once a run, and services as their containers."""

from __future__ import annotations

import asyncio
import functools
import json
import os
import shutil
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from shared.contract import catalog
from shared.runtime.ports import free_port
from tests.support.paths import ROOT
from tests.support.waiting import patience_s
from tidegate.local.server import NatsServer
from tools.image.build import build, chosen_base, tag
from tools.image.engine import NEEDED, PACKAGES, Engine

SMALL, CPU = "small", "cpu"
# The image with what a service needs, and the settings that it needs besides its identity.
SERVICES = {
    "ingest": SMALL,
    "analytics": SMALL,
    "scaler": SMALL,
    "webhook": SMALL,
    "console": SMALL,
    "recorder": SMALL,
    "pictures": SMALL,
    "cv": CPU,
    "embed": CPU,
    "search": CPU,
    "vlm-front": SMALL,
}
MORE = {
    "webhook": {"WEBHOOK_URL": "http://127.0.0.1:9/alerts"},
    "console": {"CONSOLE_PORT": "0"},
    "recorder": {"RECORDER_STORE": "/var/cache/tidegate/recordings"},
    "search": {"SEARCH_INDEX": "/var/cache/tidegate/index"},
    "vlm-front": {"VLM_MODE": "front"},
}
MISSING = [name for name in (*NEEDED, "mmdebstrap") if not shutil.which(name)]

MARKS = [
    pytest.mark.image,
    pytest.mark.slow,
    pytest.mark.long,
    # One store of images: two builds into it would remove each other's.
    pytest.mark.xdist_group("images"),
    # The first of them waits for the images.
    pytest.mark.timeout(1800),
    pytest.mark.skipif(bool(MISSING), reason=f"no containers here: apt-get install {PACKAGES} mmdebstrap"),
    pytest.mark.skipif(os.geteuid() != 0, reason="containers are started as root"),
]


@functools.cache
def engine() -> Engine:
    """An engine with both images, built from the current sources."""
    instance = Engine(ROOT / ".images")
    on = chosen_base(instance, "debian")
    for name in (SMALL, CPU):
        build(instance, name, on)
    return instance


class Container:
    """A service in its image, as in a Deployment: host network, and no other privilege."""

    def __init__(self, engine: Engine, image: str, module: str, environment: dict[str, str], secrets: Path) -> None:
        self._engine = engine
        self.name = f"{module.rpartition('.')[2]}-{uuid4().hex[:6]}"
        self.port = free_port(0)
        given = {**environment, "METRICS_PORT": str(self.port), "NATS_PASSWORD_FILE": "/run/secrets/nats/password"}
        variables = [f"--env={k}={v}" for k, v in given.items()]
        engine.run(
            "podman", "run", "--detach", f"--name={self.name}", "--network=host", "--read-only", "--cap-drop=all",
            "--security-opt=no-new-privileges", "--tmpfs=/tmp:rw,size=256m", "--tmpfs=/var/cache/tidegate:rw,mode=1777",
            f"--volume={secrets}:/run/secrets/nats:ro", *variables, tag(image), "python", "-m", module,
            quiet=True,
        )  # fmt: skip

    def inspect(self, field: str) -> Any:
        request = f"{{{{json .{field}}}}}"
        return json.loads(self._engine.run("podman", "inspect", "--format", request, self.name, quiet=True))

    @property
    def log(self) -> str:
        return self._engine.log(self.name)

    def healthy(self) -> bool:
        """The result of the image's HEALTHCHECK."""
        command = ("podman", "healthcheck", "run", self.name)
        return self._engine.status(*command) == 0

    async def until_healthy(self) -> None:
        began = time.monotonic()
        while not await asyncio.to_thread(self.healthy):
            state = self.inspect("State")
            assert state["Status"] == "running", (state, self.log)
            assert time.monotonic() < began + patience_s(), self.log
            await asyncio.sleep(0.2)

    def kill(self, signal: str, *, must: bool = True) -> None:
        """must: raise SystemExit if it has ended already."""
        command = ("podman", "kill", f"--signal={signal}", self.name)
        if must:
            self._engine.run(*command, quiet=True)
        else:
            self._engine.status(*command)

    async def stop(self) -> int:
        """SIGTERM, and the exit status."""
        await asyncio.to_thread(self.kill, "TERM")
        output = await asyncio.to_thread(self._engine.run, "podman", "wait", self.name, quiet=True)
        return int(output.splitlines()[-1])

    def remove(self) -> None:
        self._engine.status("podman", "rm", "--force", "--time=0", self.name)


class Host:
    """Starts containers for one test, and removes them. server: the one to connect to."""

    def __init__(self, engine: Engine, server: NatsServer, folder: Path) -> None:
        self.server = server
        self._engine, self._folder = engine, folder
        self._started: list[Container] = []

    def start(self, service: str, **more: str) -> Container:
        identity = service
        secrets = self._folder / f"{service}-{len(self._started)}"
        secrets.mkdir()
        roles = {role.identity: role.identity for role in catalog.find(service).roles}
        for name, whose in {"password": identity, **roles}.items():
            # A kubelet mounts it readable by the pod's group.
            (secrets / name).write_text(self.server.settings(whose).nats_password)
            (secrets / name).chmod(0o444)
        environment = self.server.environment(identity) | MORE.get(service, {}) | more
        module = f"services.{service.partition('-')[0]}"
        container = Container(self._engine, SERVICES[service], module, environment, secrets)
        self._started.append(container)
        return container

    def close(self) -> None:
        for container in self._started:
            container.remove()
