"""The command line, run as people run it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.support.waiting import patience_s

COMMAND = [sys.executable, "-m", "tidegate"]


def tidegate(data: Path, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """check: that it succeeds. What the environment says of servers and models is not its."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("NATS_", "CV_", "VLM_"))}
    done = subprocess.run(
        [*COMMAND, *arguments],
        env=environment | {"TIDEGATE_DATA": str(data), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=patience_s(),
        check=False,
    )
    if check:
        assert done.returncode == 0, done.stderr
    return done
