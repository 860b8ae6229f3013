"""A plot of the run: arrivals, queue, share of analysed frames, and workers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from tidegate.view.monitor import Sample

IN, QUEUE, WORKERS, INK = "#30638e", "#d1795b", "#2f7d5b", "#1f2933"
ANALYSED, DEFERRED = "#30638e", "#d9a441"
SHADES = ("#f4f6f8", "#fdf1e3", "#eef5ee", "#eef0f7")
SIZE_INCHES, DPI = (12.0, 6.4), 100


class Phase(msgspec.Struct, frozen=True, kw_only=True):
    """A phase of the scenario. start, end: seconds on the samples' clock."""

    name: str
    start: float
    end: float


def plot(samples: Sequence[Sample], phases: Sequence[Phase], path: Path, title: str) -> None:
    """Write a PNG of 1200x640 pixels."""
    import matplotlib

    # Set before pyplot is imported: there may be no display.
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    with plt.rc_context({"font.family": "DejaVu Sans", "font.size": 10, "axes.edgecolor": "#9aa5b1"}):
        figure, axes = plt.subplots(4, 1, sharex=True, figsize=SIZE_INCHES, height_ratios=(2, 3, 2, 2))
        try:
            _draw(axes, samples, phases)
            axes[0].set_title(title, loc="left", fontsize=12, fontweight="bold", color=INK, pad=22)
            figure.align_ylabels(axes)
            figure.tight_layout(h_pad=0.4)
            figure.savefig(path, dpi=DPI)
        finally:
            plt.close(figure)


def _draw(axes: Any, samples: Sequence[Sample], phases: Sequence[Phase]) -> None:
    rate, queue, frames, workers = axes
    at = [s.at for s in samples]
    pending = [s.pending or 0 for s in samples]
    rate.plot(at, [s.segments_in for s in samples], color=IN, linewidth=2, label="in")
    rate.plot(
        at, [s.segments_out for s in samples], color=IN, linewidth=1.2, linestyle=(0, (2, 1.5)), label="processed"
    )
    rate.set_ylabel("segments/s")
    total = [p + (s.ack_pending or 0) for p, s in zip(pending, samples, strict=True)]
    queue.fill_between(at, total, color=QUEUE, alpha=0.35, linewidth=0, label="in workers' hands")
    queue.fill_between(at, pending, color=QUEUE, alpha=0.9, linewidth=0, label="pending")
    queue.set_ylabel("segments")
    analysed = [100 * (1 - s.deferred) for s in samples]
    frames.fill_between(at, analysed, step="post", color=ANALYSED, alpha=0.35, linewidth=0, label="looked at, at first")
    frames.fill_between(at, analysed, 100, step="post", color=DEFERRED, alpha=0.5, linewidth=0, label="later")
    frames.set_ylabel("% of frames")
    workers.step(at, [s.desired for s in samples], where="post", color=WORKERS, linewidth=2.2, label="wanted")
    alive = [s.replicas for s in samples]
    workers.fill_between(at, alive, step="post", color=WORKERS, alpha=0.25, linewidth=0, label="running")
    workers.set_ylabel("workers")
    workers.set_xlabel("seconds")
    workers.yaxis.get_major_locator().set_params(integer=True)
    for axis in axes:
        _format_axis(axis, phases)
    for phase in phases:
        rate.text(
            (phase.start + phase.end) / 2, 1.04, phase.name, transform=rate.get_xaxis_transform(), ha="center",
            va="bottom", color=INK, fontsize=10,
        )  # fmt: skip


def _format_axis(axis: Any, phases: Sequence[Phase]) -> None:
    # Headroom for the legend.
    axis.set_ylim(0, max(2.0, axis.get_ylim()[1]) * 1.3)
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis="y", color="#d9dee4", linewidth=0.6)
    axis.set_axisbelow(True)
    axis.legend(loc="upper right", frameon=False, ncols=2, fontsize=9)
    for n, phase in enumerate(phases):
        axis.axvspan(phase.start, phase.end, color=SHADES[n % len(SHADES)], zorder=0, linewidth=0)
    if phases:
        axis.set_xlim(phases[0].start, phases[-1].end)
