"""What a simulation may take of this machine, and processes that end with their parent."""

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

# Of each process. Ten ways over a million messages take half a minute, in all of them together.
CPU_S = 1200
# Addresses, of which compiled code and threads take a part without using it.
MEMORY_BYTES = 4 * 1024**3
MOST_PROCESSES = 4
NICER = 10
SENTENCE = (
    f"the simulation was ended, as a process of it may take {CPU_S // 60} minutes of a processor and "
    f"{MEMORY_BYTES // 1024**3} GB of memory: give fewer days, or fewer ways to scale"
)

_DEATH_SIGNAL = 1

__all__ = ["CPU_S", "SENTENCE", "Exceeded", "pool", "take"]


def take() -> None:
    """Hold this process, and those that it starts, to them."""
    os.nice(NICER)
    for what, most in (
        (resource.RLIMIT_CPU, CPU_S),
        (resource.RLIMIT_AS, MEMORY_BYTES),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(what)
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (most, most))


def pool() -> ProcessPoolExecutor:
    """Processes that simulate, all of them started. Call it from the main thread, before there is another."""
    count = min(MOST_PROCESSES, len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1)
    found = ProcessPoolExecutor(count, get_context("fork"), initializer=partial(_end_with, os.getpid()))
    found.submit(os.getpid).result()
    return found


def _end_with(parent: int) -> None:
    """They hold both ends of the pipe that they read from, and would wait for ever for a parent that was killed."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)
