"""What came, how many replicas each policy ran, and how well they served, one above the other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np

from services.scaler.simulation.engine import Result, Workload
from services.scaler.simulation.trace import Floats, Trace

matplotlib.use("Agg")
import matplotlib.pyplot as plt

COLOURS = {
    "static_peak": "#9aa5b1",
    "keda_default": "#c2410c",
    "lag_tuned": "#d1495b",
    "kpa": "#7b4b94",
    "ray_serve": "#b8711f",
    "demand": "#00798c",
    "clairvoyant": "#5a8f29",
}
# A point of the plot for each of these many.
POINTS = 1500


def draw(path: Path, trace: Trace, load: Workload, results: Sequence[Result]) -> None:
    """Write the plot to `path`, in the format that its suffix names."""
    figure, (above, middle, below) = plt.subplots(
        3, 1, figsize=(11, 8), sharex=True, height_ratios=(1, 2, 1), layout="constrained"
    )
    unit, unit_s = ("hours", 3600) if trace.duration_s > 2 * 3600 else ("minutes", 60)
    times, rates = _coarse(trace)
    above.fill_between(times / unit_s, rates / load.service_rate, step="post", color="#cbd5e1")
    above.set_ylabel("arrivals, in replicas")
    above.set_title(
        f"{trace.name}: cold start {load.cold_start_s:g} s, latency target {load.latency_target_s:g} s", loc="left"
    )
    for r in sorted(results, key=lambda r: r.name == "demand"):
        steps = np.array([*r.timeline, (trace.duration_s, r.timeline[-1][1])])
        style = {"color": COLOURS[r.name], "linewidth": 2.0 if r.name == "demand" else 1.0}
        label = f"{r.name}: {r.replica_hours:,.1f} replica-hours, {r.window_attainment:.0%} of minutes served"
        middle.step(steps[:, 0] / unit_s, steps[:, 1], where="post", label=label, **style)
        if len(r.windows) and r.name not in ("static_peak", "clairvoyant"):
            below.plot(*_smooth(r.windows, unit_s), **style)
    # What overshoots all reason is cut off, so that the rest can be read.
    shown = [r.peak_replicas for r in results if r.name in ("static_peak", "demand", "clairvoyant")]
    if shown:
        middle.set_ylim(0, 2 * max(shown))
    middle.set_ylabel("replicas asked for")
    middle.legend(loc="upper right", fontsize=8)
    below.set_ylabel("share in time")
    below.set_ylim(-0.03, 1.03)
    below.set_xlabel(unit)
    for axes in (above, middle, below):
        axes.spines[["top", "right"]].set_visible(False)
        axes.margins(x=0)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _coarse(trace: Trace) -> tuple[Floats, Floats]:
    """(seconds, segments a second), in at most POINTS steps."""
    width = max(1, len(trace.counts) // POINTS)
    counts = trace.counts[: len(trace.counts) // width * width].reshape(-1, width)
    times: Floats = np.arange(len(counts), dtype=np.float64) * (width * trace.step_s)
    rates: Floats = counts.sum(axis=1).astype(np.float64) / (width * trace.step_s)
    return times, rates


def _smooth(windows: Floats, unit_s: float) -> tuple[Floats, Floats]:
    """(time, mean share) of a minute, or of as many as a point of the plot has."""
    width = max(1, len(windows) // POINTS)
    shares = windows[: len(windows) // width * width].reshape(-1, width)
    known = ~np.isnan(shares)
    total: Floats = np.where(known, shares, 0.0).sum(axis=1)
    mean: Floats = np.full(len(shares), np.nan)
    np.divide(total, known.sum(axis=1), out=mean, where=known.any(axis=1))
    times: Floats = np.arange(len(shares), dtype=np.float64) * (width * 60 / unit_s)
    return times, mean
