"""Whether a measured quantity grows: `bench.slopes`."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.slopes import BLOCK, FEWEST_BLOCKS, HOUR_S, slope

MINUTES = [60.0 * n for n in range(100)]


@given(st.floats(-50, 50), st.floats(-1000, 1000))
def test_the_slope_of_a_line_is_exact(per_hour: float, start: float) -> None:
    found = slope(MINUTES, [start + per_hour * t / HOUR_S for t in MINUTES])
    assert found and found.per_hour == pytest.approx(per_hour, abs=1e-6)
    assert found.error == pytest.approx(0, abs=1e-6)


def test_a_constant_has_no_slope_and_no_error() -> None:
    found = slope(MINUTES, [8.0] * len(MINUTES))
    assert found and (found.per_hour, found.error) == (0.0, 0.0)
    assert found.holds_zero and not found.grows


def test_noise_passes_for_growth_at_the_stated_rate() -> None:
    """The noise is autocorrelated, as that of queues and caches is."""
    dice = random.Random(7)
    outside = 0
    for _ in range(400):
        values, at = [], 0.0
        for _ in MINUTES:
            at = 0.5 * at + dice.gauss(0, 1)
            values.append(100 + at)
        found = slope(MINUTES, values)
        outside += found is not None and not found.holds_zero
    assert outside / 400 < 0.1


def test_a_leak_is_seen_through_noise() -> None:
    dice = random.Random(7)
    found = slope(MINUTES, [200 + 10 * t / HOUR_S + dice.gauss(0, 3) for t in MINUTES])
    assert found and found.grows and abs(found.per_hour - 10) < found.error


def test_too_few_samples_give_no_result() -> None:
    few = BLOCK * FEWEST_BLOCKS - 1
    assert slope(MINUTES[:few], MINUTES[:few]) is None
    assert slope(MINUTES[: few + 1], MINUTES[: few + 1]) is not None
