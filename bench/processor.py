"""The CPU time of processes."""

from __future__ import annotations

import psutil


def cpu_s(*processes: psutil.Process) -> float:
    """Return the user and system seconds of these processes, without their children."""
    return float(sum(times.user + times.system for times in (process.cpu_times() for process in processes)))


def family(pid: int) -> list[psutil.Process]:
    """Return a process and its running descendants."""
    return [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
