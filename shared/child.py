"""Child processes that never outlive us: in a session of their own, told to end when their parent dies."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

_PR_SET_PDEATHSIG = 1
# Found before any fork: in a process with threads, the child may do little between fork and exec.
_prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None


def spawn(command: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
    """Start `command`, its output appended to `log`.

    A session of its own keeps the terminal's Ctrl-C from it: its parent stops it in order.
    """
    with log.open("ab") as out:
        return subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env=None if env is None else dict(env),
            start_new_session=True,
            preexec_fn=dying_with_parent(),
        )


def dying_with_parent() -> Callable[[], None]:
    """A `preexec_fn`: SIGTERM when the thread that started the child ends, by whatever death. Linux alone can.

    Start children from the main thread, as the kernel watches the thread and not the process.
    """
    return partial(_die_with_parent, os.getpid())


def _die_with_parent(parent: int) -> None:
    if _prctl is None:
        return
    _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)  # the parent died before it was asked for


def last_lines(log: Path, count: int = 5) -> str:
    """The end of a log, on one line, for an error's text."""
    lines = log.read_text(errors="replace").splitlines()[-count:] if log.exists() else []
    return " | ".join(line.strip() for line in lines)
