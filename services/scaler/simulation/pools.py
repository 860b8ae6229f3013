"""Processes that simulate beside each other."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context


def pool() -> ProcessPoolExecutor:
    """As many as there are cores. They are forked from a process that has nothing else: one that was forked from a
    program with threads or a model waits for ever where these hold a lock.
    """
    context = get_context("forkserver")
    context.set_forkserver_preload(["services.scaler.simulation.engine"])
    return ProcessPoolExecutor(mp_context=context)
