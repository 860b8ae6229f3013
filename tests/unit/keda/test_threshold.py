"""The threshold's two bounds, checked by the HPA's own arithmetic and not by the formula again."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from shared.runtime.errors import SettingError
from tests.support.kube.scaledobjects import document, lag_trigger
from tidegate.keda.decision import Keda
from tidegate.keda.scaledobject import parse
from tidegate.keda.threshold import Threshold, explain, lag_threshold

rates = st.floats(0.1, 2000)
latencies = st.floats(0.1, 60)
holds = st.integers(0, 200)
gpus = st.integers(1, 8)


def wanted(t: Threshold, replicas: int, metric: float) -> int:
    """The replicas that KEDA and the HPA would run immediately, without windows and rate limits."""
    at_once = {
        "stabilizationWindowSeconds": 0,
        "policies": [{"type": "Percent", "value": 10_000, "periodSeconds": 15}],
    }
    scaled = document(
        maxReplicaCount=100,
        advanced={"horizontalPodAutoscalerConfig": {"behavior": {"scaleUp": at_once, "scaleDown": at_once}}},
        triggers=[lag_trigger(lagThreshold=str(t.value))],
    )
    return Keda(parse(yaml.safe_dump(scaled)), 0.0).step(60.0, [metric], replicas).desired


def test_the_shipped_detector() -> None:
    t = lag_threshold(13.4, 2, max_in_flight=5)
    assert (t.value, t.in_flight, t.is_bounded_by_in_flight) == (20, 5, False)
    assert t.stays_s == pytest.approx(1.64, abs=0.01)


@given(rates, latencies, holds, gpus, st.integers(1, 50))
def test_replicas_with_full_in_flight_limits_ask_for_no_more(
    rate: float, latency: float, hold: int, count: int, replicas: int
) -> None:
    t = lag_threshold(rate, latency, max_in_flight=hold, gpus=count)
    assert wanted(t, replicas, replicas * hold * count) <= replicas


@given(st.floats(10, 2000), st.floats(1, 60), gpus, st.integers(1, 50))
def test_a_backlog_of_the_target_size_asks_for_more(rate: float, latency: float, count: int, replicas: int) -> None:
    t = lag_threshold(rate, latency, gpus=count)
    assert wanted(t, replicas, replicas * rate * count * latency) > replicas
    assert t.stays_s <= latency


@given(rates, latencies, holds, gpus, st.floats(0, 600))
def test_bounds(rate: float, latency: float, hold: int, count: int, cold_start: float) -> None:
    t = lag_threshold(rate, latency, max_in_flight=hold, gpus=count, cold_start_s=cold_start)
    assert t.value >= 1 and t.value > t.in_flight
    assert t.value <= max(t.cleared, t.in_flight + 1)
    assert t.fallback >= t.value
    # What demand lets pile up while its replicas start never reaches the net: arrivals of n replicas' worth.
    assert t.fallback >= t.rate * cold_start


def test_gpus_multiply_the_rate_and_the_in_flight_limit() -> None:
    one, four = lag_threshold(100, 2, max_in_flight=10), lag_threshold(100, 2, max_in_flight=10, gpus=4)
    assert (one.value, four.value, four.in_flight) == (150, 600, 40)


def test_reports_an_in_flight_limit_that_makes_the_target_unreachable() -> None:
    t = lag_threshold(2, 1, max_in_flight=8)
    assert (t.value, t.is_bounded_by_in_flight) == (9, True)
    assert "too late for the target" in explain(t) and "hold less" in explain(t)


def test_explains_with_every_term() -> None:
    text = explain(lag_threshold(12, 2, max_in_flight=6))
    assert text.splitlines()[0] == 'lagThreshold: "18"'
    assert "clears 12 messages/s, so 24 in 2 s; 25% of it" in text
    assert "above the 6 that it may hold" in text
    assert "up to 1.7 s" in text
    assert 'fallback trigger of demand, lagThreshold: "1464"' in text
    assert 'on deferred segments, lagThreshold: "3600"' in text and "the 600 s that MEDIA keeps video" in text
    assert "too late" not in text


@pytest.mark.parametrize(
    ("rate", "latency", "options", "names"),
    [
        (0.0, 2.0, {}, "--rate 0 "),
        (-1.0, 2.0, {}, "--rate -1 "),
        (float("nan"), 2.0, {}, "--rate nan "),
        (float("inf"), 2.0, {}, "--rate inf "),
        (1.0, 0.0, {}, "--latency 0 "),
        (1.0, 2.0, {"max_in_flight": -1}, "--hold -1 "),
        (1.0, 2.0, {"retention_s": 0.0}, "--kept 0 "),
        (1.0, 2.0, {"gpus": 0}, "--gpus 0 "),
        (1.0, 2.0, {"cold_start_s": -1.0}, "--cold-start -1 "),
    ],
)
def test_errors_name_the_option(rate: float, latency: float, options: dict[str, int], names: str) -> None:
    with pytest.raises(SettingError, match=f"^{names}can't be used: give"):
        lag_threshold(rate, latency, **options)
