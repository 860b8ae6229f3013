"""A plot of a simulation: a panel of replicas for each policy, and the times when it was late."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

from tidegate.simulation import series
from tidegate.simulation.engine import Result, Workload
from tidegate.simulation.trace import Floats, Trace

matplotlib.use("Agg")
import matplotlib.pyplot as plt

COLOURS = {
    "static_peak": "#9aa5b1",
    "keda_default": "#c2410c",
    "lag_tuned": "#d1495b",
    "utilisation": "#b0578d",
    "utilisation_tuned": "#4a6fa5",
    "kpa": "#7b4b94",
    "ray_serve": "#b8711f",
    "demand": "#00798c",
    "clairvoyant": "#5a8f29",
}
# Columns of a panel. More columns turn a fluctuating line into a solid block.
BINS = 240
# Maximum number of policies in one column; more need a second one.
ONE_COLUMN = 3


def draw(path: Path, trace: Trace, load: Workload, results: Sequence[Result]) -> None:
    """Write the plot to `path`, in the format that its suffix names."""
    columns = 1 if len(results) <= ONE_COLUMN else 2
    count = math.ceil(len(results) / columns)
    degraded = [r for r in results if r.deferred]
    strips = 1.2 + 0.2 * len(results) + (1.0 + 0.2 * len(degraded) if degraded else 0.0)
    figure = plt.figure(figsize=(11, 2.1 * count + 0.4 + strips), layout="constrained")
    parts: Any = figure.subfigures(2, 1, height_ratios=(2.1 * count, strips))
    above, below = parts
    figure.suptitle(
        f"{trace.name}: cold start {load.cold_start_s:g} s, latency target {load.latency_target_s:g} s", fontsize=11
    )
    unit, unit_s = ("hours", 3600) if trace.duration_s > 2 * 3600 else ("minutes", 60)
    edges = np.linspace(0.0, trace.duration_s, BINS + 1)
    panels = above.subplots(count, columns, sharex=True, sharey=True, squeeze=False)
    for axes, result in zip(panels.flat, results, strict=False):
        _replicas(axes, trace, load, result, edges, unit_s)
    for axes in panels.flat[len(results) :]:
        axes.set_visible(False)
    label = "replicas: grey, kept busy by what arrives; line, requested"
    # The axis cuts off extreme overshoot, so that the other panels stay readable.
    if peaks := [r.peak_replicas for r in results if r.name in ("static_peak", "demand", "clairvoyant")]:
        panels[0, 0].set_ylim(0, 2 * max(peaks))
        label += f", shown up to {2 * max(peaks)}" if max(r.peak_replicas for r in results) > 2 * max(peaks) else ""
    above.supylabel(label, fontsize=9)
    heights = [1.2 + 0.2 * len(results)] + ([1.0 + 0.2 * len(degraded)] if degraded else [])
    rows = below.subplots(len(heights), squeeze=False, height_ratios=heights)[:, 0]
    late = [(r.name, 1.0 - _share(r.windows, BINS)) for r in results]
    _strips(rows[0], trace, late, "share of segments late", "Reds", unit, unit_s)
    if degraded:
        deferred = [(r.name, 1.0 - _share(1.0 - r.deferred_by_minute, BINS)) for r in degraded]
        shares = ", ".join(f"{r.backfilled / r.deferred:.0%}" for r in degraded)
        title = f"share of segments with deferred frames, backfilled where replicas were idle: {shares}"
        _strips(rows[1], trace, deferred, title, "Blues", unit, unit_s)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _replicas(axes: Any, trace: Trace, load: Workload, result: Result, edges: Floats, unit_s: float) -> None:
    """Plot a policy's desired replicas, as mean and range, over the replicas that arrivals keep busy."""
    needed = series.rates(trace, edges) / load.service_rate
    mean, low, high = _replica_range(result.timeline, edges)
    at = edges[:-1] / unit_s
    colour = COLOURS[result.name.partition(",")[0]]
    axes.fill_between(at, needed, step="post", color="#cbd5e1", linewidth=0)
    axes.fill_between(at, low, high, step="post", color=colour, alpha=0.25, linewidth=0)
    axes.step(at, mean, where="post", color=colour, linewidth=1.4)
    axes.set_title(
        f"{result.name}: {result.replica_hours:,.1f} replica-hours, {result.window_attainment:.0%} of minutes served",
        loc="left",
        fontsize=9,
    )
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0)
    axes.tick_params(labelsize=8)


def _strips(
    axes: Any, trace: Trace, named: Sequence[tuple[str, Floats]], title: str, colours: str, unit: str, unit_s: float
) -> None:
    """Plot a strip of shares for each policy."""
    extent = (0.0, trace.duration_s / unit_s, len(named) - 0.5, -0.5)
    strips = np.array([shares for _, shares in named])
    image = axes.imshow(strips, aspect="auto", extent=extent, cmap=colours, vmin=0.0, vmax=1.0, interpolation="nearest")
    axes.set_yticks(range(len(named)), [name for name, _ in named], fontsize=8)
    axes.tick_params(labelsize=8)
    axes.set_xlabel(unit, fontsize=9)
    axes.set_title(title, loc="left", fontsize=9)
    axes.figure.colorbar(image, ax=axes, pad=0.01).ax.tick_params(labelsize=8)


def _replica_range(timeline: Sequence[tuple[float, int]], edges: Floats) -> tuple[Floats, Floats, Floats]:
    """Return (mean, minimum, maximum) replicas between edges. timeline: (seconds, replicas from then on)."""
    at, replicas = (np.array(column, dtype=np.float64) for column in zip(*timeline, strict=True))
    first = np.maximum(np.searchsorted(at, edges[:-1], "right") - 1, 0)
    end = np.maximum(np.searchsorted(at, edges[1:], "left"), first + 1)
    parts = [replicas[a:b] for a, b in zip(first, end, strict=True)]
    return series.replicas(timeline, edges), np.array([p.min() for p in parts]), np.array([p.max() for p in parts])


def _share(windows: Floats, bins: int) -> Floats:
    """Return the mean share of the windows in each of `bins` equal parts; 1 if nothing arrived."""
    bin_of = np.arange(len(windows)) * bins // max(1, len(windows))
    has_data = ~np.isnan(windows)
    total = np.bincount(bin_of[has_data], windows[has_data], bins)
    count = np.bincount(bin_of[has_data], minlength=bins)
    share: Floats = np.divide(total, count, out=np.ones(bins), where=count > 0)
    if len(windows) < bins:
        # A short trace has fewer minutes than columns: each minute fills several.
        share = share[bin_of[np.arange(bins) * len(windows) // bins]] if len(windows) else share
    return share
