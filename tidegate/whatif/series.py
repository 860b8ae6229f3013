"""A trace and replicas over it, as few points as a plot shows. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tidegate.simulation.trace import Floats, Trace


def points(trace: Trace, most: int) -> Floats:
    """The edges of at most so many even steps over the whole trace, in seconds."""
    return np.linspace(0.0, trace.duration_s, min(most, len(trace.counts)) + 1)


def rates(trace: Trace, edges: Floats) -> list[float]:
    """Messages a second between one edge and the next, in the mean."""
    ends = np.arange(len(trace.counts) + 1, dtype=np.float64) * trace.step_s
    return _means(np.concatenate(([0.0], np.cumsum(trace.counts, dtype=np.float64))), ends, edges)


def replicas(timeline: Sequence[tuple[float, int]], edges: Floats) -> list[float]:
    """Replicas between one edge and the next, in the mean. timeline: from when on there were how many."""
    ends = np.array([at for at, _ in timeline] + [max(edges[-1], timeline[-1][0])], dtype=np.float64)
    counts = np.array([n for _, n in timeline], dtype=np.float64)
    return _means(np.concatenate(([0.0], np.cumsum(counts * np.diff(ends)))), ends, edges)


def _means(sums: Floats, at: Floats, edges: Floats) -> list[float]:
    """The mean slope of running sums, whose values at `at` are known and lie on lines between these."""
    means = np.diff(np.interp(edges, at, sums)) / np.diff(edges)
    return [round(float(mean), 4) for mean in means]
