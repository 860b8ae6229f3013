"""Child processes that never outlive us: in a session of their own, with a parent-death signal."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

# Instead of a `preexec_fn`: that runs Python between fork and exec, and the fork hooks of libraries with it. LanceDB
# starts threads there, which crashed the child. So a small separate Python does it, and becomes the command: 15 ms.
# PR_SET_PDEATHSIG is 1; if the parent died before the call, the parent's pid differs.
_BIND = (
    "import ctypes, os, signal, sys; ctypes.CDLL(None).prctl(1, signal.SIGTERM, 0, 0, 0); "
    "os.getppid() == int(sys.argv[1]) or os._exit(1); os.execvp(sys.argv[2], sys.argv[2:])"
)


# The environment of a child that parses foreign video: it includes no password.
_PLAIN = ("PATH", "HOME", "LANG", "LC_", "TMPDIR", "PYTHON", "LD_LIBRARY_PATH", "COVERAGE_")


def plain_environment() -> dict[str, str]:
    """Return our environment, without passwords and keys."""
    return {name: value for name, value in os.environ.items() if name.startswith(_PLAIN)}


def python(module: str, *arguments: str) -> list[str]:
    """Return the command that runs a module of ours.

    -P keeps the working directory off Python's path: code there would replace ours, with our rights.
    """
    return [sys.executable, "-P", "-m", module, *arguments]


def spawn(command: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
    """Start `command`, and append its output to `log`.

    Its own session shields it from the terminal's Ctrl-C: its parent stops it in order.
    """
    with log.open("ab") as out:
        return subprocess.Popen(
            bound(command),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env=None if env is None else dict(env),
            start_new_session=True,
        )


def bound(command: Sequence[str]) -> list[str]:
    """Wrap `command` so that it gets SIGTERM when its starting thread ends, for any reason. Only Linux can.

    Start children from the main thread, as the kernel watches the thread and not the process. Raises FileNotFoundError.
    """
    if shutil.which(command[0]) is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), command[0])
    if sys.platform != "linux":
        return list(command)
    return [sys.executable, "-I", "-S", "-c", _BIND, str(os.getpid()), *command]


def last_lines(log: Path, count: int = 5) -> str:
    """Return the end of a log, on one line, for an error's text."""
    lines = log.read_text(errors="replace").splitlines()[-count:] if log.exists() else []
    return " | ".join(line.strip() for line in lines)
