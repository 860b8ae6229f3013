"""Packages of npm that tests read, installed once and cached between runs."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from pathlib import Path

import pytest


def installed(config: pytest.Config, package: str, version: str, *more: str) -> Path:
    """The folder of a package in pytest's cache. Skips without npm, except in CI.

    more: what is installed next to it, in npm's form: `name@version`.
    """
    if not shutil.which("npm"):
        pytest.skip("npm is not installed: apt-get install nodejs npm")
    root = Path(config.cache.mkdir(f"{package.strip('@').replace('/', '-')}-{version}"))  # type: ignore[union-attr]
    folder = root / "node_modules" / package
    # Several test processes install concurrently, and npm tolerates no other process in its folder.
    with (root / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "package.json").exists():
            install = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", root]
            done = subprocess.run(
                [*install, f"{package}@{version}", *more], capture_output=True, text=True, timeout=300
            )
            if done.returncode and not os.environ.get("CI"):
                pytest.skip(f"npm can't install {package} here: {done.stderr[-300:]}")
            assert done.returncode == 0, done.stderr
    return folder
