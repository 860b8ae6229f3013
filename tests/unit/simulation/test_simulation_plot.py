"""The plot of a simulation: what goes up and down within a column becomes its mean, and nothing is lost by it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tidegate.drawing import simulation
from tidegate.simulation import series
from tidegate.simulation.engine import Result, Workload
from tidegate.simulation.trace import Trace

HOUR = 3600.0
EDGES = np.linspace(0.0, HOUR, 61)

changes = st.lists(st.tuples(st.floats(1.0, HOUR - 1), st.integers(0, 50)), max_size=40, unique_by=lambda c: c[0])


@given(changes, st.integers(0, 50))
def test_a_column_has_the_mean_over_time_between_least_and_most(later: list[tuple[float, int]], first: int) -> None:
    timeline = [(0.0, first), *sorted(later)]
    mean, low, high = simulation._replica_range(timeline, EDGES)
    assert (low <= mean + 1e-9).all() and (mean <= high + 1e-9).all()
    ends = [at for at, _ in timeline[1:]] + [HOUR]
    spent = sum(n * (end - at) for (at, n), end in zip(timeline, ends, strict=True))
    assert (mean * np.diff(EDGES)).sum() == pytest.approx(spent)
    assert high.max() == max(n for _, n in timeline) and low.min() == min(n for _, n in timeline)


def test_arrivals_are_counted_once() -> None:
    counts = np.arange(3600) % 7
    rates = series.rates(Trace("t", 1.0, counts), EDGES)
    assert (rates * np.diff(EDGES)).sum() == pytest.approx(counts.sum())


@pytest.mark.parametrize("minutes", [1, 10, 240, 5000])
def test_the_share_in_time_ignores_minutes_without_segments(minutes: int) -> None:
    shares = np.where(np.arange(minutes) < minutes / 2, 0.25, 1.0)
    shown = simulation._share(shares, simulation.BINS)
    assert len(shown) == simulation.BINS
    assert shown[0] == 0.25 and (minutes == 1 or shown[-1] == 1.0)
    assert (simulation._share(np.full(minutes, np.nan), simulation.BINS) == 1.0).all()


def test_a_policy_that_never_rests_is_a_line_and_no_block(tmp_path: Path) -> None:
    """Up and down four times a minute for four days: drawn change by change that was one block of colour."""
    days = 4 * 24 * HOUR
    timeline = [(float(at), 1 + 9 * (at // 15 % 2)) for at in range(0, int(days), 15)]
    load = Workload(service_rate=2.0, cold_start_s=60.0, latency_target_s=5.0)
    result = Result(
        name="kpa", replica_hours=1.0, busy_hours=1.0, p95_s=1.0, worst_s=1.0,
        attainment=1.0, window_attainment=1.0, p50_s=1.0, p99_s=1.0, lost=0,
        cold_starts=0, reversals_per_hour=0.0, peak_replicas=10, timeline=timeline, windows=np.full(5760, 0.5),
    )  # fmt: skip
    trace = Trace("t", 10.0, np.full(int(days / 10), 20))
    simulation.draw(tmp_path / "days.png", trace, load, [result])
    with Image.open(tmp_path / "days.png") as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    colour = np.array([int(simulation.COLOURS["kpa"][i : i + 2], 16) for i in (1, 3, 5)])
    solid = (np.abs(pixels - colour).max(axis=2) < 8).mean()
    assert 0 < solid < 0.02
