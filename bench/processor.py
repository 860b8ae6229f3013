"""What processes took of processors."""

from __future__ import annotations

import psutil


def cpu_s(*processes: psutil.Process) -> float:
    """User and system seconds of these, without those that they have started."""
    return float(sum(times.user + times.system for times in (process.cpu_times() for process in processes)))


def family(pid: int) -> list[psutil.Process]:
    """A process, and all that it has started and that run."""
    return [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
