"""Imports of the services have no side effects: no lookup, no connection, no fork, and no file in the home folder."""

from __future__ import annotations

import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import services.cv.detectors
import services.embed.models
from shared.contract import catalog
from tests.support.waiting import patience_s

MODULES = [f"{s.module}.__main__" for s in catalog.SERVICES] + [
    f"{package.__name__}.{module.name}"
    for package in (services.cv.detectors, services.embed.models)
    for module in pkgutil.iter_modules(package.__path__)
]

LOAD = """
import importlib, os, sys, threading

TELLS = ("socket.getaddrinfo", "socket.connect", "os.fork", "os.posix_spawn", "subprocess.Popen")

def hook(event, args):
    if event in TELLS:
        os.write(2, f"told: {event} {args} by {threading.current_thread().name}\\n".encode())

sys.addaudithook(hook)
try:
    importlib.import_module(sys.argv[1])
except ModuleNotFoundError as e:
    if e.name.partition(".")[0] in ("services", "shared", "openvino_telemetry"):
        raise
    print(e.name)
"""


@pytest.mark.slow
@pytest.mark.parametrize("module", MODULES)
def test_an_import_opens_no_connection_and_starts_no_process(module: str, tmp_path: Path) -> None:
    # Some packages send no telemetry during a build.
    env = {k: v for k, v in os.environ.items() if not k.startswith(("CI", "COVERAGE", "GITHUB", "JENKINS", "BUILD"))}
    done = subprocess.run(
        [sys.executable, "-c", LOAD, module],
        env=env | {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=patience_s(),
    )
    assert done.returncode == 0, done.stderr
    assert "told:" not in done.stderr, done.stderr
    assert [str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*")] == []
    if done.stdout:
        pytest.skip(f"{done.stdout.strip()} is of an extra: pip install 'tidegate[cv-torch,embed-torch]'")
