"""Child processes that never outlive us: in a session of their own, told to end when their parent dies."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

# In place of a `preexec_fn`: that runs Python between fork and exec, and what libraries have registered for a fork with
# it. LanceDB starts threads there, which was seen to crash the child. So a small Python of its own does it, and becomes
# the command: 15 ms. PR_SET_PDEATHSIG is 1, and a parent that died before it was asked for has another one's pid.
_BIND = (
    "import ctypes, os, signal, sys; ctypes.CDLL(None).prctl(1, signal.SIGTERM, 0, 0, 0); "
    "os.getppid() == int(sys.argv[1]) or os._exit(1); os.execvp(sys.argv[2], sys.argv[2:])"
)


# What a child that reads strangers' video may know of our environment: no password is among it.
_PLAIN = ("PATH", "HOME", "LANG", "LC_", "TMPDIR", "PYTHON", "LD_LIBRARY_PATH", "COVERAGE_")


def plain_environment() -> dict[str, str]:
    """Ours, without what it may have of passwords and keys."""
    return {name: value for name, value in os.environ.items() if name.startswith(_PLAIN)}


def python(module: str, *arguments: str) -> list[str]:
    """The command that runs a module of ours.

    -P keeps the folder that it is started in off Python's path: code there would run in place of ours, with what ours
    may do.
    """
    return [sys.executable, "-P", "-m", module, *arguments]


def spawn(command: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
    """Start `command`, its output appended to `log`.

    A session of its own keeps the terminal's Ctrl-C from it: its parent stops it in order.
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
    """`command` such that it gets SIGTERM when the thread that starts it ends, by whatever death. Linux alone can.

    Start children from the main thread, as the kernel watches the thread and not the process. Raises FileNotFoundError.
    """
    if shutil.which(command[0]) is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), command[0])
    if sys.platform != "linux":
        return list(command)
    return [sys.executable, "-I", "-S", "-c", _BIND, str(os.getpid()), *command]


def last_lines(log: Path, count: int = 5) -> str:
    """The end of a log, on one line, for an error's text."""
    lines = log.read_text(errors="replace").splitlines()[-count:] if log.exists() else []
    return " | ".join(line.strip() for line in lines)
