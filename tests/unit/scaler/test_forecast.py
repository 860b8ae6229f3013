"""The measurements of a consumer: its arrival rate, its forecast, and the rate of a replica."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.scaler.demand.arrivals import SHORT_S, Arrivals
from services.scaler.demand.forecast import Forecast
from services.scaler.demand.observation import Workers
from services.scaler.demand.service_rate import ServiceRate
from tests.support.examples import examples


def cumulated(rate: Callable[[float], float], seconds: int, seed: int | None = None) -> list[int]:
    """Arrivals by the end of each second; with a seed they come by chance, else evenly."""
    rates = np.array([rate(t) for t in range(seconds)])
    if seed is None:
        return np.floor(np.cumsum(rates) + 1e-6).astype(int).tolist()
    counts: list[int] = np.cumsum(np.random.default_rng(seed).poisson(rates)).tolist()
    return counts


def fed(arrivals: Arrivals, counts: list[int], every: int = 1) -> Arrivals:
    arrivals.observe(0.0, 0)
    for t, count in enumerate(counts, 1):
        if t % every == 0:
            arrivals.observe(float(t), count)
    return arrivals


# ---- the arrival rate


def test_a_steady_stream_has_its_rate() -> None:
    a = fed(Arrivals(150), cumulated(lambda t: 4, 600))
    assert a.level == 4 and a.span_s == 150 and a.dispersion == 1


@pytest.mark.parametrize("seed", range(5))
def test_noise_is_averaged_out_over_the_window(seed: int) -> None:
    a = fed(Arrivals(150), cumulated(lambda t: 10, 1200, seed))
    # The deviation of the mean of 150 s is 0.26; where chance looked like a change, the window is shorter.
    assert a.level == pytest.approx(10, abs=1.5)
    assert 1 <= a.dispersion < 3


@pytest.mark.parametrize(("before", "after"), [(2, 12), (12, 2), (0, 5), (5, 0)])
def test_a_level_shift_shortens_the_window(before: int, after: int) -> None:
    a = fed(Arrivals(150), cumulated(lambda t: before if t < 600 else after, 600 + int(SHORT_S) + 5))
    assert a.level == pytest.approx(after, abs=0.35 * abs(after - before))
    assert a.span_s < 30
    # The cut is where the shift was detected: some earlier seconds stay until the window has moved on.
    a = fed(Arrivals(150), cumulated(lambda t: before if t < 600 else after, 640))
    assert a.level == pytest.approx(after, abs=0.15 * abs(after - before))
    a = fed(Arrivals(150), cumulated(lambda t: before if t < 600 else after, 800))
    assert a.level == pytest.approx(after, abs=0.05)


def test_the_dispersion_distinguishes_bursts_from_noise() -> None:
    rng = random.Random(1)
    total, counts = 0, []
    for _ in range(3600):
        total += 30 if rng.random() < 0.1 else 0
        counts.append(total)
    assert fed(Arrivals(150), counts).dispersion > 5


@given(st.integers(1, 29), st.integers(0, 5))
@settings(max_examples=examples(40))
def test_any_interval_gives_nearly_the_same_rate(every: int, seed: int) -> None:
    counts = cumulated(lambda t: 20, 900, seed)
    seldom = fed(Arrivals(150), counts, every)
    assert seldom.level == pytest.approx(20, rel=0.2)


def test_a_gap_between_two_observations_is_no_burst() -> None:
    for gap in (20, 60, 600, 86_400):
        a = fed(Arrivals(150), cumulated(lambda t: 10, 600))
        a.observe(600.0 + gap, 6000 + 10 * gap)
        assert a.level == pytest.approx(10)
        a.observe(601.0 + gap, 6010 + 10 * gap)
        assert a.level == pytest.approx(10)


@given(
    st.lists(st.tuples(st.floats(0.01, 400) | st.just(0.0), st.integers(0, 10_000)), min_size=1, max_size=120),
    st.floats(120, 900),
)
@settings(max_examples=examples(150))
def test_rates_are_between_zero_and_the_arrivals(steps: list[tuple[float, int]], window: float) -> None:
    a = Arrivals(window)
    now, arrived = 0.0, 0
    for after, came in steps:
        now, arrived = now + after, arrived + came
        a.observe(now, arrived)
        assert all(math.isfinite(x) for x in (a.level, a.span_s, a.dispersion))
        assert a.level >= 0 and 0 <= a.span_s <= window + 1e-6
        assert 1 <= a.dispersion <= 60
        assert a.level * a.span_s <= arrived * (1 + 1e-9) + 1e-6


# ---- what it may become


def forecast(counts: list[int], quantile: float, horizon: float = 60, period: float = 30) -> list[tuple[float, float]]:
    """(what was forecast, what came in the period at the horizon), once a period."""
    f, a = Forecast(horizon, quantile, period), Arrivals(150)
    fields = {}
    for t, count in enumerate(counts):
        a.observe(float(t), count)
        f.observe(float(t), count, a.level)
        fields[t] = f.value(a.level)
    ahead, long = int(horizon), int(period)
    return [
        (fields[t], (counts[t + ahead + long] - counts[t + ahead]) / long)
        for t in range(1200, len(counts) - ahead - long, long)
    ]


@pytest.mark.parametrize("kind", ["poisson", "bursts", "day"])
def test_a_quantile_is_exceeded_at_its_rate(kind: str) -> None:
    rng = random.Random(3)
    until = [0]

    def bursts(t: float) -> float:
        if t > until[0] and rng.random() < 1 / 300:
            until[0] = int(t) + rng.randint(40, 200)
        return 14 if t < until[0] else 3

    rate = {"poisson": lambda t: 8.0, "bursts": bursts, "day": lambda t: 10 - 8 * math.cos(2 * math.pi * t / 14_400)}
    pairs = forecast(cumulated(rate[kind], 20_000, 5), 0.9)
    exceeded = sum(came > reply for reply, came in pairs) / len(pairs)
    assert 0.02 <= exceeded <= 0.2
    # The quantile has no needless headroom.
    assert np.mean([reply for reply, _ in pairs]) < (1.35 if kind == "poisson" else 3) * np.mean([c for _, c in pairs])


def test_a_steady_site_gets_a_small_margin_and_a_bursty_one_a_larger_one() -> None:
    even = forecast(cumulated(lambda t: 10, 7200), 0.9)
    assert even[-1][0] == pytest.approx(10, rel=0.03)
    restless = forecast(cumulated(lambda t: 20 if t // 45 % 2 else 5, 7200), 0.9)
    assert np.mean([reply for reply, _ in restless[-40:]]) > 14


def test_a_ramp_is_anticipated() -> None:
    # The learned margin covers it: at the horizon the rate is 10 % higher.
    pairs = forecast(cumulated(lambda t: 5 + 0.01 * t, 9000), 0.9)
    late = [reply < came * 0.97 for reply, came in pairs[-100:]]
    assert sum(late) <= 15


def test_the_name_states_the_chosen_candidate() -> None:
    f = Forecast(60, 0.9, 30)
    assert f.name == "the level goes on, and 6% more"
    counts = cumulated(lambda t: 20 if t // 45 % 2 else 5, 7200)
    for t, count in enumerate(counts):
        f.observe(float(t), count, 12.5)
    assert f.value(12.5) > 12.5
    assert "goes on, and" in f.name or f.name.endswith("of the last hour's rates are below it")


@given(st.lists(st.tuples(st.floats(0, 500), st.integers(0, 1000), st.floats(0, 100)), max_size=150))
@settings(max_examples=examples(80))
def test_a_forecast_is_finite_and_not_below_zero(steps: list[tuple[float, int, float]]) -> None:
    f = Forecast(67.5, 0.9, 30)
    now, arrived = 0.0, 0
    for after, came, level in steps:
        now, arrived = now + after, arrived + came
        f.observe(now, arrived, level)
        value = f.value(level)
        assert math.isfinite(value) and value >= 0
        assert f.name


# ---- what one busy replica does


def fleet(ready: int, processed: float, working_s: float) -> Workers:
    return Workers(ready=ready, loading=0, processed=processed, working_s=working_s)


def test_there_is_no_rate_before_five_seconds_of_work() -> None:
    rate = ServiceRate()
    assert rate.value is None
    for t in range(5):
        rate.observe(float(t), 0, fleet(1, 4.0 * t, float(t)))
        assert rate.value is None
    rate.observe(5.0, 0, fleet(1, 20.0, 5.0))
    assert rate.value == pytest.approx(4)


def test_idle_time_does_not_count() -> None:
    rate = ServiceRate()
    for t in range(600):
        rate.observe(float(t), 0, fleet(3, 0.4 * t, 0.1 * t))
    assert rate.value == pytest.approx(4)


def test_the_rate_is_that_of_full_batches_under_load() -> None:
    rate = ServiceRate()
    processed = working = 0.0
    for t in range(200):
        rate.observe(float(t), 0, fleet(2, processed, working))
        processed, working = processed + 2, working + 1  # one at a time: 2 a second
    assert rate.value == pytest.approx(2)
    for t in range(200, 400):
        rate.observe(float(t), 50, fleet(2, processed, working))
        processed, working = processed + 16, working + 2  # full batches: 8 a second
    assert rate.value == pytest.approx(8, rel=0.1)


def test_a_worker_that_slows_down_is_followed() -> None:
    rate = ServiceRate()
    processed = 0.0
    for t in range(600):
        rate.observe(float(t), 9, fleet(4, processed, 4.0 * t))
        processed += 4 * (4 if t < 300 else 2)
        if t == 300 + 120:
            assert rate.value == pytest.approx(2, rel=0.12)  # two minutes of four replicas
    assert rate.value == pytest.approx(2, rel=0.02)


def test_a_fleet_without_heartbeats_is_not_measured() -> None:
    rate = ServiceRate()
    rate.observe(0.0, 0, fleet(1, 0, 0))
    rate.observe(10.0, 0, fleet(1, 40, 10))
    rate.observe(20.0, 0, None)
    rate.observe(30.0, 0, fleet(1, 40, 30))
    assert rate.value == pytest.approx(4)


def test_endless_work_gives_no_rate_of_zero() -> None:
    rate = ServiceRate()
    rate.observe(0.0, 1, fleet(1, 0, 0))
    rate.observe(10.0, 1, fleet(1, 40, 10))
    for t in range(20, 100_000, 10):
        rate.observe(float(t), 1, fleet(1, 40, float(t)))
        assert rate.value is None or rate.value > 1e-6
    assert rate.value is None
