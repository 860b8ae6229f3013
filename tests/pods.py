"""The manifests of deploy/ as pods of podman, on a network of their own with a NATS: what a cluster would start.

    pods = Pods(engine, folder)
    with pods:                                     # a network, a NATS with the accounts of `tidegate accounts`
        pods.play(docs)                            # Deployments and StatefulSets as they are, but for `playable`
        pods.address("tidegate-cv")                # of a pod

What podman can't do is undone by `playable`, and nothing else.
"""

from __future__ import annotations

import copy
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

import yaml

from shared.contract.identities import permissions
from tests.images import CPU, SMALL
from tests.openai_server import __file__ as stand_in
from tidegate.local.server import MAX_PAYLOAD
from tools.image.build import tag
from tools.image.engine import Engine

Document = dict[str, Any]

SERVER = "nats.tidegate.svc.cluster.local"
PORT = 4222
# Kinds that podman plays.
PLAYED = ("ConfigMap", "Secret", "PersistentVolumeClaim", "Deployment")
# Of the images: theirs.
USER = 10001


def playable(docs: list[Document]) -> list[Document]:
    """What podman plays of them, in the image that was built here."""
    made = []
    for doc in copy.deepcopy(docs):
        if doc["kind"] == "StatefulSet":
            made += _claims(doc)
            doc = _deployment(doc)
        if doc["kind"] == "Deployment":
            _adapt(doc["spec"]["template"]["spec"])
        if doc["kind"] in PLAYED:
            made.append(doc)
    return made


def _adapt(pod: Document) -> None:
    # It waits for an init container to end, a sidecar too.
    pod["containers"] += pod.pop("initContainers", [])
    for container in pod["containers"]:
        container["imagePullPolicy"] = "Never"
        container.pop("restartPolicy", None)
        if container["image"].startswith("vllm/"):
            _stand_in(container, pod)
        container["image"] = tag(SMALL if container["image"].startswith("tidegate-small") else CPU)
        # It would ask by a curl of the image's, which has none: tests ask from outside.
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            container.pop(probe, None)
        for kind in ("requests", "limits"):
            container.get("resources", {}).get(kind, {}).pop("nvidia.com/gpu", None)
    for volume in pod["volumes"]:
        # It leaves fsGroup out, by which a kubelet lets the pod's group read.
        if "secret" in volume:
            volume["secret"]["defaultMode"] = 0o444


def _stand_in(container: Document, pod: Document) -> None:
    """No image of vLLM is at hand: a page that answers as it does."""
    model = next(a.partition("=")[2] for a in container["args"] if a.startswith("--model="))
    container.pop("args")
    container["command"] = ["python", "/stand_in.py", "8000", model]
    container["volumeMounts"].append({"name": "stand-in", "mountPath": "/stand_in.py", "readOnly": True})
    pod["volumes"].append({"name": "stand-in", "hostPath": {"path": stand_in, "type": "File"}})


def _claims(stateful: Document) -> list[Document]:
    made = []
    for template in stateful["spec"].pop("volumeClaimTemplates", []):
        name = template["metadata"]["name"]
        owner = {f"volume.podman.io/{kind}": str(USER) for kind in ("uid", "gid")}
        metadata = {"name": f"{name}-{stateful['metadata']['name']}-0", "annotations": owner}
        made.append(
            {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": template["spec"]}
        )
        claim = {"name": name, "persistentVolumeClaim": {"claimName": metadata["name"]}}
        stateful["spec"]["template"]["spec"]["volumes"].append(claim)
    return made


def _deployment(stateful: Document) -> Document:
    stateful["kind"] = "Deployment"
    stateful["spec"].pop("serviceName")
    return stateful


class Pods:
    """See the module. folder: for secrets and the manifests as they are played."""

    def __init__(self, engine: Engine, folder: Path) -> None:
        self._engine = engine
        self._folder = folder
        self._secrets = folder / "secrets"
        self._name = f"pods-{uuid4().hex[:6]}"
        self._played: list[Path] = []

    def __enter__(self) -> Pods:
        self._podman("network", "create", self._name)
        network = json.loads(self._podman("network", "inspect", self._name))[0]
        # The address of this machine on that network.
        self.host = str(network["subnets"][0]["gateway"])
        try:
            self._start_nats()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for path in self._played:
            named = [(d["kind"], d["metadata"]["name"]) for d in yaml.safe_load_all(path.read_text())]
            pods = [f"{name}-pod" for kind, name in named if kind == "Deployment"]
            self._engine.status("podman", "pod", "rm", "--force", "--time=0", *pods)
            self._engine.status("podman", "kube", "down", "--force", str(path))
            # Of each Secret it leaves a volume, which would be found where another of a like name is looked for.
            secrets = [name for kind, name in named if kind == "Secret"]
            self._engine.status("podman", "volume", "rm", "--force", *secrets)
        self._engine.status("podman", "rm", "--force", "--time=0", "--volumes", self._name)
        self._engine.status("podman", "network", "rm", "--force", self._name)

    def password(self, identity: str) -> str:
        return (self._secrets / identity).read_text().strip()

    @property
    def url(self) -> str:
        """Of NATS, for this machine."""
        return f"nats://{self._address(self._name)}:{PORT}"

    def tidegate(self, *arguments: str, **environment: str) -> str:
        """Run the command line in a container of its own, as the admin."""
        password = "/run/secrets/nats/password"
        admin = {"NATS_URL": f"nats://{SERVER}:{PORT}", "NATS_USER": "admin", "NATS_PASSWORD_FILE": password}
        return self._podman(
            "run", "--rm", f"--network={self._name}", "--read-only", "--tmpfs=/tmp",
            f"--volume={self._secrets / 'admin'}:{password}:ro", "--user=0",
            *(f"--env={k}={v}" for k, v in (admin | environment).items()), tag(CPU), "tidegate", *arguments,
        )  # fmt: skip

    def secrets(self) -> list[Document]:
        """Those that the README makes of the passwords."""
        return [secret(f"tidegate-nats-{identity}", password=self.password(identity)) for identity in permissions()]

    def play(self, docs: list[Document]) -> None:
        path = self._folder / f"played-{len(self._played)}.yaml"
        path.write_text(yaml.safe_dump_all(playable(docs)))
        self._played.append(path)
        self._podman("kube", "play", f"--network={self._name}", str(path))

    def address(self, workload: str) -> str:
        """The address of a workload's pod."""
        return self._address(json.loads(self._podman("pod", "inspect", f"{workload}-pod"))[0]["InfraContainerID"])

    def log(self, workload: str) -> str:
        return self._engine.log(self._container(workload))

    def crash(self, workload: str) -> None:
        """Kill the service, as a node that has no memory left: its pod starts it again."""
        os.kill(self._state(workload)["Pid"], signal.SIGKILL)

    def restarts(self, workload: str) -> int:
        return int(json.loads(self._podman("inspect", self._container(workload)))[0]["RestartCount"])

    def drain(self, workload: str) -> int:
        """Stop a pod as a node that is drained does, and the exit status of its service."""
        self._podman("stop", "--time=60", self._container(workload))
        return int(self._state(workload)["ExitCode"])

    def _start_nats(self) -> None:
        accounts = [sys.executable, "-m", "tidegate", "accounts", str(self._secrets)]
        subprocess.run(accounts, check=True, capture_output=True)
        config = self._folder / "nats"
        (config / "store").mkdir(parents=True)
        (config / "nats.conf").write_text(
            f"port: {PORT}\nhttp: 8222\nmax_payload: {MAX_PAYLOAD}\njetstream {{ store_dir: /nats/store }}\n"
            "include accounts.conf\n"
        )
        shutil.copy(self._secrets / "accounts.conf", config)
        for path in (config, *config.iterdir()):
            os.chown(path, USER, USER)
        self._podman(
            "run", "--detach", f"--name={self._name}", f"--network={self._name}", f"--network-alias={SERVER}",
            "--read-only", "--cap-drop=all", "--no-healthcheck", f"--volume={config}:/nats", tag(CPU),
            "nats-server", "-c", "/nats/nats.conf",
        )  # fmt: skip

    def _container(self, workload: str) -> str:
        return f"{workload}-pod-{workload.removeprefix('tidegate-').partition('-queries')[0]}"

    def _state(self, workload: str) -> Document:
        state: Document = json.loads(self._podman("inspect", self._container(workload)))[0]["State"]
        return state

    def _address(self, container: str) -> str:
        inspected = json.loads(self._podman("inspect", container))[0]
        return str(inspected["NetworkSettings"]["Networks"][self._name]["IPAddress"])

    def _podman(self, *arguments: str) -> str:
        return self._engine.run("podman", *arguments, quiet=True)


def secret(name: str, **data: str) -> Document:
    """A Secret of these keys."""
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data}
