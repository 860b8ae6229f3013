"""A trace and its replicas, reduced to the points of a plot. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tidegate.simulation.trace import Floats, Trace


def points(trace: Trace, max_points: int) -> Floats:
    """Return the edges of at most `max_points` even steps over the trace, in seconds."""
    return np.linspace(0.0, trace.duration_s, min(max_points, len(trace.counts)) + 1)


def rates(trace: Trace, edges: Floats) -> Floats:
    """Return the mean messages per second between neighbouring edges."""
    ends = np.arange(len(trace.counts) + 1, dtype=np.float64) * trace.step_s
    return _means(np.concatenate(([0.0], np.cumsum(trace.counts, dtype=np.float64))), ends, edges)


def replicas(timeline: Sequence[tuple[float, int]], edges: Floats) -> Floats:
    """Return the mean replicas between neighbouring edges. timeline: (start, replicas from then on)."""
    ends = np.array([at for at, _ in timeline] + [max(edges[-1], timeline[-1][0])], dtype=np.float64)
    counts = np.array([n for _, n in timeline], dtype=np.float64)
    return _means(np.concatenate(([0.0], np.cumsum(counts * np.diff(ends)))), ends, edges)


def _means(sums: Floats, at: Floats, edges: Floats) -> Floats:
    """Return the mean slope of running sums between edges; sums are interpolated between the points `at`."""
    means: Floats = np.diff(np.interp(edges, at, sums)) / np.diff(edges)
    return means
