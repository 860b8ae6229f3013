"""Arrivals for a what-if, and the processes that simulate it."""

from __future__ import annotations

import contextlib

import psutil


def ours(*, at_work: bool = False) -> list[psutil.Process]:
    """The simulation processes of this one. at_work: only those that already have child processes."""
    found = []
    for process in psutil.Process().children(recursive=True):
        # Any of them may end during the read.
        with contextlib.suppress(psutil.Error):
            if "tidegate.whatif" in " ".join(process.cmdline()) and (not at_work or process.children()):
                found.append(process)
    return found


COUNTS = [30] * 120 + [300] * 30 + [30] * 60
CSV = "t_s,arrivals\n" + "\n".join(f"{60 * n},{count}" for n, count in enumerate(COUNTS)) + "\n"


def lives(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
