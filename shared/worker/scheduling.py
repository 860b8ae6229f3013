"""The order in which Linux runs the threads of a worker: the device's thread first.

A thread that wakes up may preempt any other. On few cores the loop and the decoders, which wake up many times a
segment, take the core of the device's thread. As batch work they preempt nobody, and have the same share of a core.

    wait_for_cores()    # of the calling thread, and of threads that it starts
    take_cores()        # undoes it
"""

from __future__ import annotations

import contextlib
import os
import sys


def wait_for_cores() -> None:
    """Mark the calling thread as batch work, unless it has a policy of the operator's choice."""
    if sys.platform == "linux":
        _change(os.SCHED_OTHER, os.SCHED_BATCH)


def take_cores() -> None:
    """Give the calling thread the ordinary policy again if it is batch work."""
    if sys.platform == "linux":
        _change(os.SCHED_BATCH, os.SCHED_OTHER)


def _change(before: int, after: int) -> None:
    # A sandbox may forbid it: then the work is only slower.
    with contextlib.suppress(OSError):
        if os.sched_getscheduler(0) == before:
            os.sched_setscheduler(0, after, os.sched_param(0))
