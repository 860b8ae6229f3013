"""`tidegate doctor` uses what is installed: that it is there is not enough."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
from io import StringIO
from pathlib import Path
from typing import Any

import av
import pytest
from nats.aio.client import Client
from rich.console import Console

from shared.contract import topology
from shared.runtime.settings import load
from tidegate.commands import doctor
from tidegate.local.server import NatsServer
from tidegate.view.findings import Finding


async def findings(data: Path) -> tuple[bool, str]:
    """Return whether nothing is bad, and the line about the segment."""
    out = Console(file=StringIO(), width=300)
    well = await doctor.run(data, out)
    lines = out.file.getvalue().splitlines()  # type: ignore[attr-defined]
    return well, next(line for line in lines if "one segment" in line)


async def test_a_street_segment_is_decoded_and_has_detections(tmp_path: Path) -> None:
    well, line = await findings(tmp_path)
    assert well and "car" in line


async def test_an_installed_package_that_fails_is_bad(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def another(*_: Any, **__: Any) -> None:
        raise TypeError("open() got an unexpected keyword argument")

    monkeypatch.setattr(av, "open", another)
    well, line = await findings(tmp_path)
    assert not well and "unexpected keyword argument" in line


async def test_a_drawn_segment_replaces_missing_demo_footage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = importlib.util.find_spec

    def find(name: str, package: str | None = None) -> importlib.machinery.ModuleSpec | None:
        return None if name == "skvideo" else whole(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", find)
    well, line = await findings(tmp_path)
    assert well and "drawn" in line


async def test_the_check_follows_the_settings(
    server: NatsServer, admin: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in server.environment("admin").items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("EMBED_CROPS", "detections")
    (wrong,) = [f for f in await doctor.streams(tmp_path) if f.level != "ok"]
    assert wrong == Finding("consumer embed", "bad", "missing", "tidegate setup")
    await topology.apply(admin.jetstream(), load(topology.TopologySettings))
    assert {f.level for f in await doctor.streams(tmp_path)} == {"ok"}
    monkeypatch.setenv("EMBED_CROPS", "all")
    (wrong,) = await doctor.streams(tmp_path)
    assert wrong.level == "bad" and "EMBED_CROPS='all' can't be used" in wrong.remedy


def definition(*without: str) -> dict[str, Any]:
    """The checked part of KEDA's definition of a ScaledObject, as `kubectl get -o json` prints it."""
    directions = {d: {"properties": {"tolerance": {}, "policies": {}}} for d in ("scaleUp", "scaleDown")}
    fallback: dict[str, Any] = {"behavior": {}, "replicas": {}}
    for name in without:
        fallback.pop(name, None)
        for direction in directions.values():
            direction["properties"].pop(name, None)
    behavior = {"properties": {"behavior": {"properties": directions}}}
    spec = {
        "fallback": {"properties": fallback},
        "advanced": {"properties": {"horizontalPodAutoscalerConfig": behavior}},
    }
    schema = {"openAPIV3Schema": {"properties": {"spec": {"properties": spec}}}}
    version = {"name": "v1alpha1", "served": True, "schema": schema}
    return {
        "metadata": {"name": "scaledobjects.keda.sh", "labels": {"app.kubernetes.io/version": "2.20.2"}},
        "spec": {"versions": [version]},
    }


@pytest.mark.parametrize(
    ("answer", "level", "says"),
    [
        (definition(), "ok", "2.20.2"),
        (definition("tolerance"), "bad", "scaleUp.tolerance"),
        (definition("behavior"), "bad", "spec.fallback.behavior"),
        ({"spec": {"versions": []}}, "bad", "tolerance"),
        (None, "note", 'customresourcedefinitions "scaledobjects.keda.sh" not found'),
        ("nonsense", "note", "sends no JSON"),
    ],
)
def test_keda_is_checked_if_there_is_a_cluster(
    answer: Any, level: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kubectl = tmp_path / "kubectl"
    if answer is None:
        kubectl.write_text(f"#!/bin/sh\necho 'Error from server (NotFound): {says}' >&2\nexit 1\n")
    else:
        (tmp_path / "answer").write_text(answer if isinstance(answer, str) else json.dumps(answer))
        kubectl.write_text(f"#!/bin/sh\nexec cat {tmp_path}/answer\n")
    kubectl.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    [found] = doctor._keda()
    assert found.level == level and says in found.found
    assert (found.remedy == "") == (level == "ok")
    assert level != "bad" or "2.18" in found.remedy


def test_without_kubectl_the_check_prints_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert doctor._keda() == []
