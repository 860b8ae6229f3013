"""Child processes that never outlive us: in a session of their own, told to end when their parent dies."""

from __future__ import annotations

import ctypes
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


def spawn(command: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
    """Start `command`, its output appended to `log`. Call it from the main thread: the kernel watches the thread.

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
            preexec_fn=_die_with_parent,
        )


def _die_with_parent() -> None:
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def last_lines(log: Path, count: int = 5) -> str:
    """The end of a log, on one line, for an error's text."""
    lines = log.read_text(errors="replace").splitlines()[-count:] if log.exists() else []
    return " | ".join(line.strip() for line in lines)
