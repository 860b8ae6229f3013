"""A plot of an audit: arrivals over time, and the cost and service level of each scaling policy."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

from tidegate.audit.candidates import DEMAND, KEDA_DEFAULT, LAG, STATIC
from tidegate.audit.costs import Costs
from tidegate.audit.pattern import DAY_S, HOUR_S, Pattern
from tidegate.audit.search import ORACLE
from tidegate.simulation.trace import Floats, Trace

matplotlib.use("Agg")
import matplotlib.pyplot as plt

COLOURS = {
    STATIC: "#9aa5b1",
    "static": "#64748b",
    KEDA_DEFAULT: "#c2410c",
    LAG: "#d1495b",
    DEMAND: "#00798c",
    ORACLE: "#5a8f29",
}
# Columns of the line. More columns turn a fluctuating line into a solid block.
BINS = 480


def draw(
    path: Path, trace: Trace, pattern: Pattern, costs: Costs, *, begins: dt.datetime | None, price: float | None
) -> None:
    """Write the plot to `path`, in the format that its suffix names."""
    # Less than a day has no weekly pattern.
    heights = (1.6, 1.7, 2.6) if trace.duration_s >= DAY_S else (1.6, 2.6)
    figure = plt.figure(figsize=(11, 1.4 * sum(heights)), layout="constrained")
    rows = figure.subplots(len(heights), 1, height_ratios=heights)
    _arrivals_over_time(rows[0], trace, begins)
    if len(rows) > 2:
        _week_heatmap(figure, rows[1], pattern)
    _cost_bars(rows[-1], costs, price)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _arrivals_over_time(axes: Any, trace: Trace, begins: dt.datetime | None) -> None:
    """Plot the arrivals: the mean of each column as a line, and its range as a band."""
    rates = trace.counts / trace.step_s
    parts = np.array_split(rates, min(BINS, len(rates)))
    mean, low, high = (np.array([f(part) for part in parts]) for f in (np.mean, np.min, np.max))
    units = (("days", DAY_S), ("hours", HOUR_S), ("minutes", 60))
    unit, unit_s = next((u for u in units if trace.duration_s > 2 * u[1]), units[-1])
    at = np.linspace(0, trace.duration_s, len(parts), endpoint=False) / unit_s
    axes.fill_between(at, low, high, step="post", color="#cbd5e1", linewidth=0)
    axes.step(at, mean, where="post", color="#334155", linewidth=1.2)
    since = f" since {begins:%Y-%m-%d %H:%M}" if begins else ""
    title = f"{trace.name}: {trace.total:,} messages, as so many a second; line: the mean"
    axes.set_title(title, loc="left", fontsize=10)
    axes.set_xlabel(f"{unit}{since}", fontsize=9)
    axes.set_ylim(bottom=0)
    axes.margins(x=0)
    _hide_frame(axes)


def _week_heatmap(figure: Any, axes: Any, p: Pattern) -> None:
    """Plot a row for each weekday that has data, and a column for each hour."""
    rows = np.flatnonzero(~np.isnan(p.week).all(axis=1))
    extent = (0, 24, len(rows) - 0.5, -0.5)
    image = axes.imshow(p.week[rows], aspect="auto", cmap="Blues", vmin=0.0, extent=extent)
    axes.set_yticks(range(len(rows)), [p.days[row] for row in rows], fontsize=8)
    axes.set_xticks(range(0, 25, 3))
    axes.set_xlabel("hour of the day", fontsize=9)
    title = f"messages a second by day and hour; the peak is {p.peak_over_mean:.1f} times the mean"
    axes.set_title(title, loc="left", fontsize=10)
    axes.tick_params(labelsize=8)
    figure.colorbar(image, ax=axes, pad=0.01).ax.tick_params(labelsize=8)


def _cost_bars(axes: Any, costs: Costs, price: float | None) -> None:
    """Plot the cost of each policy as a bar, labelled with the share of minutes that it serves."""
    unit_price = price if price is not None else 1.0
    totals: Floats = np.array([costs.a_month(row) * unit_price for row in costs.rows])
    positions = np.arange(len(totals))
    colours = [COLOURS[row.name.partition(",")[0]] for row in costs.rows]
    axes.barh(positions, totals, color=colours, height=0.62)
    for position, row, cost in zip(positions, costs.rows, totals, strict=True):
        r = row.result
        text = f" {cost:,.0f}: {r.window_attainment:.1%} of minutes served"
        text += f", {r.deferred_share:.1%} of frames deferred" if r.deferred else ""
        is_chosen = row is costs.chosen
        enough = r.window_attainment >= costs.goal.enough or row.name == ORACLE
        axes.text(
            cost,
            position,
            text + (", recommended" if is_chosen else ""),
            va="center",
            fontsize=9,
            fontweight="bold" if is_chosen else "normal",
            color="#0f172a" if enough else "#b91c1c",
        )
    axes.set_yticks(positions, [row.label for row in costs.rows], fontsize=9)
    axes.invert_yaxis()
    axes.set_xlim(0, totals.max() * 1.75)
    unit_name = "GPU-hours" if price is None else f"cost at {price:g} a GPU-hour"
    title = f"{unit_name} in 30 days; red: under {costs.goal.enough:.0%} of minutes served"
    axes.set_title(title, loc="left", fontsize=10)
    _hide_frame(axes)


def _hide_frame(axes: Any) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
