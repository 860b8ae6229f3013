"""Resource limits of a simulation, and processes that end with their parent."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool as Exceeded
from functools import partial
from multiprocessing import get_context

# Limit for each process. Ten policies over a million messages take half a minute in total.
CPU_S = 1200
# Address space; compiled code and threads reserve a part of it without using it.
MEMORY_BYTES = 4 * 1024**3
MOST_PROCESSES = 4
NICE_INCREMENT = 10
SENTENCE = (
    f"the simulation was ended, as a process of it may take {CPU_S // 60} minutes of a processor and "
    f"{MEMORY_BYTES // 1024**3} GB of memory: give fewer days, or fewer ways to scale"
)

_DEATH_SIGNAL = 1

__all__ = ["CPU_S", "SENTENCE", "Exceeded", "apply", "pool"]


def apply() -> None:
    """Apply the limits to this process and its children."""
    os.nice(NICE_INCREMENT)
    for kind, limit in (
        (resource.RLIMIT_CPU, CPU_S),
        (resource.RLIMIT_AS, MEMORY_BYTES),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard_limit = resource.getrlimit(kind)
        limit = limit if hard_limit == resource.RLIM_INFINITY else min(limit, hard_limit)
        resource.setrlimit(kind, (limit, limit))


def pool() -> ProcessPoolExecutor:
    """Start the simulating processes. Call it from the main thread, before any other thread starts."""
    count = min(MOST_PROCESSES, len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1)
    executor = ProcessPoolExecutor(count, get_context("fork"), initializer=partial(_end_with, os.getpid()))
    executor.submit(os.getpid).result()
    return executor


def _end_with(parent: int) -> None:
    """End with the parent: a worker holds both ends of its pipe, so it never sees that a parent was killed."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)
