"""KEDA's and the HPA's arithmetic: an example of every rule, and what must hold whatever the metric does."""

from __future__ import annotations

import copy
import math
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.examples import examples
from tests.support.kube.hpa import AT_ONCE, HOUR, HPA_ONLY
from tests.support.kube.keda_cluster import AWAY, Cluster, metrics, scaled
from tidegate.keda.decision import Keda
from tidegate.keda.scaledobject import Advanced, ScaledObject, ScalingModifiers
from tidegate.keda.source import Metric


def test_activity_starts_one_replica_in_one_write_at_a_poll() -> None:
    cluster = Cluster(scaled(pollingInterval=30))
    cluster.run(29, 0.0)
    cluster.run(30, 500.0)
    assert cluster.changes == [(30, 0, 1)]


def test_activity_starts_min_replicas_immediately() -> None:
    assert Cluster(scaled(minReplicaCount=3)).run(0, 500.0).changes == [(0, 0, 3)]


def test_active_means_over_the_activation_threshold() -> None:
    assert Cluster(scaled(activation=5)).run(300, 5.0).replicas == 0
    assert Cluster(scaled(activation=5)).run(0, 6.0).replicas == 1


def test_all_replicas_end_in_one_write_a_cooldown_after_the_last_active_poll() -> None:
    cluster = Cluster(scaled(pollingInterval=30, cooldownPeriod=60), replicas=7)
    cluster.run(30, 70.0)  # last active poll
    cluster.run(89, 0.0)
    assert cluster.replicas == 7
    cluster.run(90, 0.0)
    assert cluster.changes == [(90, 7, 0)]


def test_the_cooldown_writes_past_the_hpa_s_policies() -> None:
    slow = {"scaleDown": {"policies": [{"type": "Pods", "value": 1, "periodSeconds": 1800}]}}
    cluster = Cluster(scaled(cooldownPeriod=60, behavior=slow), replicas=7)
    assert cluster.run(0, 70.0).run(600, 0.0).changes == [(60, 7, 0)]


def test_the_cooldown_changes_nothing_if_the_minimum_is_above_zero() -> None:
    cluster = Cluster(scaled(minReplicaCount=2, cooldownPeriod=0), replicas=5)
    assert cluster.run(0, 0.0).replicas == 5
    assert cluster.run(3600, 0.0).replicas == 2


def test_an_inactive_pool_scales_up_to_the_minimum() -> None:
    assert Cluster(scaled(minReplicaCount=2)).run(0, 0.0).changes == [(0, 0, 2)]


@pytest.mark.parametrize(
    ("current", "metric", "desired"),
    [
        (1, 25, 3),  # ceil(25 / 10)
        (1, 30, 3),
        (1, 31, 4),
        (10, 110, 10),  # exactly the tolerance
        (10, 111, 12),
        (11, 120, 11),  # 12 would fit, the tolerance swallows it
        (10, 90, 10),
        (10, 89, 9),
        (10, 0, 1),  # never under 1: the HPA knows no zero
    ],
)
def test_replicas_are_metric_by_target_outside_the_tolerance(current: int, metric: float, desired: int) -> None:
    free = {"scaleDown": {"stabilizationWindowSeconds": 0}}
    assert Cluster(scaled(behavior=free, **HPA_ONLY), current).sync(float(metric)) == desired


def test_each_direction_may_have_its_own_tolerance() -> None:
    behavior = {"scaleUp": {"tolerance": 0}, "scaleDown": {"tolerance": 0.5, "stabilizationWindowSeconds": 0}}
    assert Cluster(scaled(behavior=behavior, **HPA_ONLY), 10).sync(101.0) == 11
    assert Cluster(scaled(behavior=behavior, **HPA_ONLY), 10).sync(50.0) == 10
    assert Cluster(scaled(behavior=behavior, **HPA_ONLY), 10).sync(49.0) == 5


def test_the_hpa_leaves_zero_alone() -> None:
    """This holds from Kubernetes 1.37 on as well, whose HPA could scale from zero: KEDA sets its minimum to 1."""
    assert Cluster(scaled(pollingInterval=1_000_000)).run(0, 0.0).run(600, 500.0).replicas == 0
    assert Cluster(scaled(pollingInterval=1_000_000, behavior=AT_ONCE), 3).run(0, 5.0).run(3600, 0.0).replicas == 1


def test_bounds_are_restored_without_metrics() -> None:
    assert Cluster(scaled(maxReplicaCount=5, minReplicaCount=1), 9).sync(AWAY) == 5
    assert Cluster(scaled(minReplicaCount=4, pollingInterval=1000), 3).run(7.5, AWAY).replicas == 4


def test_the_maximum_holds() -> None:
    assert Cluster(scaled(maxReplicaCount=6, behavior={}, **HPA_ONLY), 3).sync(1e6) == 6


def test_the_greatest_of_several_triggers_wins() -> None:
    assert Cluster(scaled(triggers=2, behavior={}, **HPA_ONLY), 2).sync(20.0, 40.0) == 4


def test_unset_behavior_at_most_doubles_or_reaches_four() -> None:
    cluster = Cluster(scaled(**HPA_ONLY), 1)
    assert [cluster.sync(1000.0) for _ in range(5)] == [4, 8, 16, 32, 64]


def test_unset_behavior_scales_down_to_the_highest_recommendation_of_300_s() -> None:
    cluster = Cluster(scaled(**HPA_ONLY), 8)
    cluster.run(7.5, 80.0)
    assert cluster.run(7.5 + 300, 20.0).replicas == 8
    assert cluster.run(7.5 + 315, 20.0).replicas == 2


def test_set_behavior_defaults_up_to_four_pods_or_double_in_15_s() -> None:
    cluster = Cluster(scaled(behavior={}, **HPA_ONLY), 1)
    assert [cluster.sync(1000.0) for _ in range(4)] == [5, 10, 20, 40]


def test_set_behavior_defaults_down_after_300_s_and_then_fully() -> None:
    cluster = Cluster(scaled(behavior={}, **HPA_ONLY), 8)
    cluster.run(7.5, 80.0)
    assert cluster.run(7.5 + 299, 20.0).replicas == 8
    assert cluster.run(7.5 + 300, 20.0).replicas == 2


def test_policies_count_the_events_of_their_period() -> None:
    slow = {"scaleUp": {"policies": [{"type": "Pods", "value": 2, "periodSeconds": 60}]}}
    cluster = Cluster(scaled(behavior=slow, **HPA_ONLY), 1).run(200, 1000.0)
    assert cluster.changes == [(7.5, 1, 3), (67.5, 3, 5), (127.5, 5, 7), (187.5, 7, 9)]


def test_percent_up_rounds_up_and_percent_down_truncates() -> None:
    up = {"scaleUp": {"policies": [{"type": "Percent", "value": 10, "periodSeconds": 15}]}}
    assert Cluster(scaled(behavior=up, **HPA_ONLY), 3).sync(1000.0) == 4  # 3.3
    down = {
        "scaleDown": {
            "stabilizationWindowSeconds": 0,
            "policies": [{"type": "Percent", "value": 10, "periodSeconds": 15}],
        }
    }
    assert Cluster(scaled(behavior=down, **HPA_ONLY), 3).sync(1.0) == 2  # 2.7


def test_the_widest_policy_wins() -> None:
    policies = [
        {"type": "Pods", "value": 1, "periodSeconds": 60},
        {"type": "Percent", "value": 50, "periodSeconds": 60},
    ]
    rules = {"selectPolicy": "Max", "stabilizationWindowSeconds": 0, "policies": policies}
    so = scaled(behavior={"scaleUp": rules, "scaleDown": rules}, **HPA_ONLY)
    assert Cluster(so, 10).sync(1000.0) == 15
    assert Cluster(so, 10).sync(10.0) == 5


def test_the_up_window_waits_for_the_lowest_recommendation() -> None:
    behavior = {"scaleUp": {"stabilizationWindowSeconds": 60}}
    cluster = Cluster(scaled(behavior=behavior, **HPA_ONLY), 2)
    cluster.run(7.5, 20.0)
    assert cluster.run(7.5 + 59, 50.0).replicas == 2
    assert cluster.run(7.5 + 60, 50.0).replicas == 5


def test_stabilisation_precedes_the_rate_limit() -> None:
    behavior = {
        "scaleDown": {
            "stabilizationWindowSeconds": 60,
            "policies": [{"type": "Pods", "value": 1, "periodSeconds": 15}],
        }
    }
    cluster = Cluster(scaled(behavior=behavior, **HPA_ONLY), 5)
    cluster.run(7.5, 50.0).run(112.5, 10.0)
    assert cluster.changes == [(67.5, 5, 4), (82.5, 4, 3), (97.5, 3, 2), (112.5, 2, 1)]


def test_keda_s_own_writes_are_no_scale_events() -> None:
    one_a_minute = {"scaleUp": {"policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}]}}
    cluster = Cluster(scaled(behavior=one_a_minute)).run(7.5, 1000.0)
    assert cluster.changes == [(0, 0, 1), (7.5, 1, 2)]


def test_nothing_changes_before_next_at() -> None:
    keda = Keda(scaled(), 100.0)
    assert keda.next_at == 100.0
    assert keda.step(99.0, [50.0], 0).desired == 0
    assert keda.step(100.0, [50.0], 0).desired == 1
    assert keda.next_at == 107.5


def test_a_late_call_runs_each_clock_once() -> None:
    keda = Keda(scaled(), 0.0)
    assert keda.step(1000.0, [60.0], 0).desired == 4
    assert keda.next_at == 1015.0


def test_the_reason_names_the_controller_that_changed_the_count() -> None:
    cluster = Cluster(scaled(cooldownPeriod=60), replicas=3).run(0, 30.0)
    decision = cluster.keda.step(1000.0, [0.0], 3)  # both clocks are due
    assert (decision.desired, decision.reason) == (0, "no trigger was active for 60 s")


def test_a_reason_stays_until_the_next_change() -> None:
    keda = Keda(scaled(**HPA_ONLY), 0.0)
    first = keda.step(7.5, [100.0], 1)
    keda.step(22.5, [50.0], first.desired)
    assert first.reason == "lag 100 of 10 a replica: 10 wanted, 4 within policies and bounds"


def test_the_reason_explains_the_count() -> None:
    cluster = Cluster(scaled(maxReplicaCount=6, **HPA_ONLY), 1)
    cluster.sync(100.0)
    assert cluster.history[-1][3] == "lag 100 of 10 a replica: 10 wanted, 4 within policies and bounds"


directions = st.fixed_dictionaries(
    {},
    optional={
        "stabilizationWindowSeconds": st.sampled_from([0, 30, 60, 300]),
        "policies": st.lists(
            st.fixed_dictionaries(
                {
                    "type": st.sampled_from(["Pods", "Percent"]),
                    "value": st.integers(1, 150),
                    "periodSeconds": st.sampled_from([15, 30, 60, 300]),
                }
            ),
            min_size=1,
            max_size=3,
        ),
    },
)
behaviors = st.none() | st.fixed_dictionaries({}, optional={"scaleUp": directions, "scaleDown": directions})


@st.composite
def objects(draw: st.DrawFn) -> ScaledObject:
    low = draw(st.integers(0, 5))
    spec: dict[str, Any] = {
        "minReplicaCount": low,
        "maxReplicaCount": draw(st.integers(max(1, low), 20)),
        "pollingInterval": draw(st.sampled_from([5, 30])),
        "cooldownPeriod": draw(st.sampled_from([0, 60, 300])),
    }
    if draw(st.booleans()):
        spec["fallback"] = {"failureThreshold": draw(st.integers(0, 3)), "replicas": draw(st.integers(0, 50))}
    return scaled(behavior=draw(behaviors), target=draw(st.integers(1, 20)), **spec)


def play(so: ScaledObject, values: list[Metric]) -> Cluster:
    cluster = Cluster(so)
    for value in values:
        cluster.run(cluster.keda.next_at, value)
    return cluster


@given(objects(), metrics)
def test_bounds_are_always_respected(so: ScaledObject, values: list[Metric]) -> None:
    spec = so.spec
    for _, before, after, _ in play(so, values).history:
        assert after <= spec.max_replica_count
        resting = after == 0 and spec.min_replica_count == 0
        assert resting or after >= max(1, spec.min_replica_count)
        assert before != after


@given(objects(), metrics, st.integers(0, 500), st.integers(0, 500))
def test_more_metric_never_means_fewer_replicas(so: ScaledObject, values: list[Metric], a: int, b: int) -> None:
    cluster = play(so, values)
    now = cluster.keda.next_at
    less, more = (copy.deepcopy(cluster.keda).step(now, [float(m)], cluster.replicas).desired for m in sorted((a, b)))
    assert less <= more


@given(objects(), metrics)
def test_a_backlog_gets_its_replicas_in_the_end(so: ScaledObject, values: list[Metric]) -> None:
    cluster = play(so, values)
    target = so.triggers[0].lag_threshold
    cluster.run(cluster.now + HOUR * 2, 200.0)
    wanted = min(math.ceil(200 / target), so.spec.max_replica_count)
    assert cluster.replicas * 1.1 * target >= min(200, wanted * target)
    assert cluster.run(cluster.now + HOUR / 6, 200.0).replicas == cluster.replicas


@settings(max_examples=examples(50))
@given(st.integers(1, 5), st.sampled_from([15, 30, 60]), metrics)
def test_scaling_up_never_exceeds_the_policy_in_any_period(pods: int, period: int, values: list[Metric]) -> None:
    rules = {"policies": [{"type": "Pods", "value": pods, "periodSeconds": period}]}
    so = scaled(behavior={"scaleUp": rules, "scaleDown": {"stabilizationWindowSeconds": 3600}}, **HPA_ONLY)
    history = play(so, values).history[1:]  # the first is KEDA's own write
    for start, *_ in history:
        assert sum(after - before for t, before, after, _ in history if start <= t < start + period) <= pods


@settings(max_examples=examples(50))
@given(st.sampled_from([60, 300]), metrics)
def test_the_count_never_falls_below_recommendations_inside_the_window(window: int, values: list[Metric]) -> None:
    behavior = {"scaleUp": {}, "scaleDown": {"stabilizationWindowSeconds": window}}
    cluster = Cluster(scaled(behavior=behavior, **HPA_ONLY), 20)
    wanted: list[tuple[float, int]] = []
    for value in values:
        before = cluster.replicas
        cluster.run(cluster.keda.next_at, value)
        if isinstance(value, float) and cluster.now > 0:
            wanted.append((cluster.now, math.ceil(value / 10)))
        recent = [n for t, n in wanted if t > cluster.now - window]
        if cluster.replicas < before:
            assert cluster.replicas >= max(recent)


@given(objects(), metrics, st.integers(0, 20))
def test_a_second_push_changes_nothing(so: ScaledObject, values: list[Metric], current: int) -> None:
    cluster = play(so, values)
    first = cluster.keda.push(cluster.now, current).desired
    assert first >= current
    assert first > 0
    assert cluster.keda.push(cluster.now, first).desired == first


@given(objects(), metrics)
def test_a_formula_of_one_trigger_equals_that_trigger(so: ScaledObject, values: list[Metric]) -> None:
    """The test has no errors, since KEDA treats them differently."""
    trigger = msgspec.structs.replace(so.triggers[0], name="a")
    modifiers = ScalingModifiers(formula="a", target=str(so.triggers[0].lag_threshold))
    advanced = msgspec.structs.replace(so.spec.advanced or Advanced(), scaling_modifiers=modifiers)
    spec = msgspec.structs.replace(so.spec, advanced=advanced)
    composed = msgspec.structs.replace(so, triggers=(trigger,), spec=spec)
    answers = [v for v in values if not isinstance(v, Exception)]
    assert play(composed, answers).changes == play(so, answers).changes
