"""The manifests of deploy/ as pods of podman, on a network of their own: a deployment without a cluster.

    with Pods(engine, folder) as pods:             # a network, and the Secrets of `tidegate cluster init`
        pods.play([*pods.secrets(), *docs])        # workloads as they are, but for `playable`
        pods.address("tidegate-cv")                # of a pod

What podman can't do is undone by `playable`, and nothing else.
"""

from __future__ import annotations

import copy
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

import yaml

from tests.support.paths import ROOT
from tests.support.processes.images import CPU, SMALL
from tools.image.build import tag
from tools.image.engine import Engine

Document = dict[str, Any]

DOMAIN = "tidegate.svc.cluster.local"
PORT = 4222
# Kinds that podman supports.
PLAYED = ("ConfigMap", "Secret", "PersistentVolumeClaim", "Deployment", "Job")
# Of the images: theirs.
USER = 10001


def playable(docs: list[Document]) -> list[Document]:
    """The parts that podman supports, with the locally built images."""
    created = []
    secrets = {doc["metadata"]["name"]: doc for doc in docs if doc["kind"] == "Secret"}
    for doc in copy.deepcopy(docs):
        for one in _replicas(doc) if doc["kind"] == "StatefulSet" else [doc]:
            if one["kind"] in ("Deployment", "Job"):
                created += _projected(one, secrets)
                _adapt(one["spec"]["template"]["spec"])
            if one["kind"] in PLAYED:
                created.append(one)
    return created


def _projected(workload: Document, secrets: dict[str, Document]) -> list[Document]:
    """Secrets in place of its projected volumes, which podman does not support."""
    created = []
    for volume in workload["spec"]["template"]["spec"]["volumes"]:
        if (projected := volume.pop("projected", None)) is None:
            continue
        name, data = f"{workload['metadata']['name']}-{volume['name']}", {}
        for source in (source["secret"] for source in projected["sources"]):
            of = secrets[source["name"]]["data"]
            items = source.get("items") or [{"key": key, "path": key} for key in of]
            data |= {item["path"]: of[item["key"]] for item in items}
        volume["secret"] = {"secretName": name}
        created.append({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": data})
    return created


def _adapt(pod: Document) -> None:
    # It waits for an init container to end, a sidecar too. Of the exporter there is no image here.
    pod["containers"] += pod.pop("initContainers", [])
    pod["containers"] = [container for container in pod["containers"] if container["name"] != "exporter"]
    for container in pod["containers"]:
        container["imagePullPolicy"] = "Never"
        container.pop("restartPolicy", None)
        if container["image"].startswith("vllm/"):
            _stand_in(container, pod)
        container["image"] = tag(SMALL if container["image"].startswith("tidegate-small") else CPU)
        # Its probes would need curl in the image, which has none: tests probe from outside.
        for left_out in ("startupProbe", "readinessProbe", "livenessProbe", "lifecycle"):
            container.pop(left_out, None)
        for kind in ("requests", "limits"):
            container.get("resources", {}).get(kind, {}).pop("nvidia.com/gpu", None)
    for volume in pod["volumes"]:
        # It ignores fsGroup, by which a kubelet makes files readable by the pod's group.
        if "secret" in volume:
            volume["secret"]["defaultMode"] = 0o444


def _stand_in(container: Document, pod: Document) -> None:
    """A fake page in place of vLLM, which has no image here."""
    model = next(a.partition("=")[2] for a in container["args"] if a.startswith("--model="))
    container.pop("args")
    container["command"] = ["python", "-m", "tests.support.servers.openai_server", "8000", model]
    container["env"] = [*container.get("env", []), {"name": "PYTHONPATH", "value": "/stand-in"}]
    container["volumeMounts"].append({"name": "stand-in", "mountPath": "/stand-in/tests", "readOnly": True})
    pod["volumes"].append({"name": "stand-in", "hostPath": {"path": str(ROOT / "tests"), "type": "Directory"}})


def _replicas(stateful: Document) -> list[Document]:
    """A StatefulSet as Deployments of one pod, each with its claims."""
    spec, name = stateful["spec"], stateful["metadata"]["name"]
    count = spec.get("replicas", 1)
    templates = spec.pop("volumeClaimTemplates", [])
    created = []
    for n in range(count):
        one = copy.deepcopy(stateful)
        one["kind"] = "Deployment"
        one["spec"] |= {"replicas": 1}
        one["spec"].pop("serviceName")
        one["metadata"]["name"] = name if count == 1 else f"{name}-{n}"
        for template in templates:
            volume = template["metadata"]["name"]
            claim = f"{volume}-{name}-{n}"
            owner = {f"volume.podman.io/{kind}": str(USER) for kind in ("uid", "gid")}
            metadata = {"name": claim, "annotations": owner}
            kind = {"apiVersion": "v1", "kind": "PersistentVolumeClaim"}
            created.append({**kind, "metadata": metadata, "spec": template["spec"]})
            mounted = {"name": volume, "persistentVolumeClaim": {"claimName": claim}}
            one["spec"]["template"]["spec"]["volumes"].append(mounted)
        created.append(one)
    return created


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
        # The address of this machine on that network, which it has while a container is there.
        self.host = str(network["subnets"][0]["gateway"])
        self._podman("run", "--detach", f"--name={self._name}", f"--network={self._name}", tag(SMALL), "sleep", "inf")
        init = [sys.executable, "-m", "tidegate", "cluster", "init", str(self._secrets)]
        subprocess.run(init, check=True, capture_output=True)
        return self

    def __exit__(self, *_: object) -> None:
        for path in self._played:
            named = [(d["kind"], d["metadata"]["name"]) for d in yaml.safe_load_all(path.read_text())]
            pods = [f"{name}-pod" for kind, name in named if kind in ("Deployment", "Job")]
            self._engine.status("podman", "pod", "rm", "--force", "--time=0", *pods)
            self._engine.status("podman", "kube", "down", "--force", str(path))
            # It leaves a volume for each Secret, which a later Secret of the same name would find.
            secrets = [name for kind, name in named if kind in ("ConfigMap", "Secret")]
            self._engine.status("podman", "volume", "rm", "--force", *secrets)
        self._engine.status("podman", "rm", "--force", "--time=0", self._name)
        self._engine.status("podman", "network", "rm", "--force", self._name)

    def password(self, identity: str) -> str:
        return (self._secrets / identity).read_text().strip()

    @property
    def url(self) -> str:
        """The address of NATS, for this machine."""
        return f"nats://{self.address('nats-0')}:{PORT}"

    def tidegate(self, *arguments: str) -> str:
        """Run the command line in a container of its own, as the admin."""
        password = "/run/secrets/nats/password"
        admin = {"NATS_URL": f"nats://nats.{DOMAIN}:{PORT}", "NATS_USER": "admin", "NATS_PASSWORD_FILE": password}
        admin |= {"STREAM_REPLICAS": "3", "CONSOLE_URL": "http://127.0.0.1:8484"}
        return self._podman(
            "run", "--rm", f"--network={self._name}", "--read-only", "--tmpfs=/tmp",
            f"--volume={self._secrets / 'admin'}:{password}:ro", "--user=0",
            *(f"--env={k}={v}" for k, v in admin.items()), tag(CPU), "tidegate", *arguments,
        )  # fmt: skip

    def secrets(self) -> list[Document]:
        """The Secrets that `kubectl apply -k` takes from the folder."""
        built = subprocess.run(["kustomize", "build", self._secrets], check=True, capture_output=True, text=True).stdout
        return [d for d in yaml.safe_load_all(built) if d["kind"] == "Secret"]

    def play(self, docs: list[Document]) -> None:
        """Start them all. Each server is a pod of its own, because it has its own names on the network."""
        built = playable(docs)
        servers = [d for d in built if d["kind"] == "Deployment" and d["metadata"]["name"].startswith("nats")]
        shared = [d for d in built if d["kind"] in ("ConfigMap", "Secret", "PersistentVolumeClaim")]
        for server in servers:
            names = (f"{server['metadata']['name']}.nats-headless.{DOMAIN}", f"nats.{DOMAIN}")
            self._play([*shared, server], *(f"alias={name}" for name in names))
        if rest := [d for d in built if d not in servers]:
            self._play(rest)

    def _play(self, docs: list[Document], *options: str) -> None:
        path = self._folder / f"played-{len(self._played)}.yaml"
        path.write_text(yaml.safe_dump_all(docs))
        self._played.append(path)
        network = ":".join(filter(None, (self._name, ",".join(options))))
        self._podman("kube", "play", f"--network={network}", str(path))

    def address(self, workload: str) -> str:
        """The address of a workload's pod."""
        return self._address(json.loads(self._podman("pod", "inspect", f"{workload}-pod"))[0]["InfraContainerID"])

    def log(self, workload: str) -> str:
        return self._engine.log(self._container(workload))

    def described(self, workload: str) -> str:
        """The state of its pod, for a person: of each container its state, and the end of its log."""
        pod = json.loads(self._podman("pod", "inspect", f"{workload}-pod"))[0]
        lines = [f"{workload}: {pod['State']} at {self.address(workload)!r}"]
        for container in pod["Containers"]:
            lines.append(f"{container['Name']}: {container['State']}")
            lines += self._engine.log(container["Name"]).splitlines()[-20:]
        return "\n  ".join(lines)

    def crash(self, workload: str) -> None:
        """Kill the service, as a node without memory does: its pod restarts it."""
        os.kill(self._state(workload)["Pid"], signal.SIGKILL)

    def restarts(self, workload: str) -> int:
        return int(json.loads(self._podman("inspect", self._container(workload)))[0]["RestartCount"])

    def drain(self, workload: str) -> int:
        """Stop a pod as a drained node does; return the exit status of its service."""
        self._podman("stop", "--time=60", self._container(workload))
        return int(self._state(workload)["ExitCode"])

    def _container(self, workload: str) -> str:
        container = "nats" if workload.startswith("nats-") else workload.removeprefix("tidegate-")
        return f"{workload}-pod-{container.partition('-queries')[0]}"

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
