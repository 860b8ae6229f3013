"""Bound the work of a call, independent of the machine's load: by CPU time in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys

# The tested code takes a few seconds at most. Quadratic code took minutes to hours.
MOST_S = 20

_LIMIT = f"""
import resource
spent = int(sum(resource.getrusage(resource.RUSAGE_SELF)[:2]))
resource.setrlimit(resource.RLIMIT_CPU, (spent + {MOST_S}, spent + {MOST_S}))
"""


def assert_cheap(imports: str, call: str) -> None:
    """Run `call`, an expression, in a process that is killed if it takes more than MOST_S of a processor."""
    # Without coverage: counting each line takes many times as long as running it.
    env = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    program = f"{imports}\n{_LIMIT}\n{call}"
    ended = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, env=env)
    assert ended.returncode == 0, f"{call} ended with {ended.returncode}: {ended.stderr.decode()[-500:]}"
