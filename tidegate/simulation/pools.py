"""Processes for parallel simulations."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context


def pool() -> ProcessPoolExecutor:
    """Return one process per core. They are forked from a clean process: a fork of a program with threads or a model
    would wait for ever on a lock that these hold.
    """
    context = get_context("forkserver")
    context.set_forkserver_preload(["tidegate.simulation.engine"])
    return ProcessPoolExecutor(mp_context=context)
