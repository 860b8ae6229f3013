"""What is wrong with the processes of a local stack: dead workers, and those that are not ready.

    read(data)                      # for other commands: what the stack on `data` knows

`tidegate up` looks every second, and writes what it finds to `problems.json` in its data directory.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from shared.runtime import problems
from shared.runtime.problems import Problem
from tidegate.local.running import Running


def read(data: Path) -> list[Problem]:
    """Return the problems of the stack that runs on `data`, by replica; none if nothing runs there."""
    try:
        running = msgspec.json.decode((data / "run.json").read_bytes(), type=Running)
        os.kill(running.pid, 0)
    except PermissionError:
        pass  # it runs as another user
    except (OSError, msgspec.DecodeError):
        return []
    return problems.read(data / problems.FILE)
