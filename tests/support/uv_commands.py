"""Commands of the installed uv, which must succeed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def uv() -> str:
    return str(Path(sys.executable).parent / "uv")


def run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
