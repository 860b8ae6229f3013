"""KEDA's triggers: external scalers, queries of Prometheus, pushes, sums, and what is done where one fails."""

from __future__ import annotations

import math
from typing import Any

import pytest

from tests.support.kube.hpa import AT_ONCE, FREE, HOUR, HPA_ONLY
from tests.support.kube.keda_cluster import AWAY, Cluster, external, scaled
from tests.support.kube.scaledobjects import lag_trigger, prometheus_trigger
from tidegate.keda.decision import Keda
from tidegate.keda.scaledobject import ScaledObject
from tidegate.keda.source import Metric, NoSeries, Reading


def test_an_error_without_fallback_holds_everything() -> None:
    cluster = Cluster(scaled(cooldownPeriod=0), replicas=6).run(3600, AWAY)
    assert cluster.replicas == 6
    assert "nats is away" in cluster.keda.step(cluster.keda.next_at, [AWAY], 6).reason


def test_a_failed_trigger_stops_scaling_down_but_not_up() -> None:
    free = {"scaleDown": {"stabilizationWindowSeconds": 0}}
    so = scaled(triggers=2, behavior=free, **HPA_ONLY)
    assert Cluster(so, 4).sync(10.0, AWAY) == 4
    assert Cluster(so, 4).sync(80.0, AWAY) == 8


def test_fallback_after_more_failures_than_the_threshold() -> None:
    so = scaled(pollingInterval=30, fallback={"failureThreshold": 3, "replicas": 4}, behavior={})
    cluster = Cluster(so, replicas=1)
    cluster.run(22.5, AWAY)  # polled at 0, 7.5, 22.5
    assert cluster.replicas == 1
    cluster.run(30, AWAY)  # the fourth failure: served from here, to the HPA at its next sync
    assert cluster.run(37.5, AWAY).changes == [(37.5, 1, 4)]


def test_one_answer_ends_the_fallback() -> None:
    so = scaled(fallback={"failureThreshold": 3, "replicas": 4}, behavior={}, **HPA_ONLY)
    cluster = Cluster(so, replicas=1).run(22.5, AWAY).run(37.5, 10.0).run(82.5, AWAY)
    assert cluster.replicas == 1
    assert cluster.run(97.5, AWAY).replicas == 4
    assert cluster.history[-1][3] == "fallback, as nats is away: lag 40 of 10 a replica: 4 wanted"


@pytest.mark.parametrize(("behavior", "desired"), [("static", 3), ("currentReplicasIfHigher", 6)])
def test_fallback_behaviors(behavior: str, desired: int) -> None:
    fallback = {"failureThreshold": 0, "replicas": 3, "behavior": behavior}
    assert Cluster(scaled(fallback=fallback, behavior=FREE, **HPA_ONLY), 6).sync(AWAY) == desired


def test_no_cooldown_runs_before_the_first_activity() -> None:
    assert Cluster(scaled(), replicas=3).run(0, 0.0).replicas == 0


def test_the_fallback_activates_an_empty_pool() -> None:
    so = scaled(pollingInterval=10, fallback={"failureThreshold": 2, "replicas": 3})
    assert Cluster(so).run(20, AWAY).changes == [(20, 0, 1)]


def test_an_external_scaler_reports_its_activity() -> None:
    so = scaled(triggers=[external()], cooldownPeriod=0)
    assert Cluster(so).run(600, Reading(5.0, False)).replicas == 0
    cluster = Cluster(so).run(0, Reading(0.0, True))
    assert cluster.changes == [(0, 0, 1)]
    assert cluster.run(600, Reading(0.0, True)).replicas == 1  # held warm, whatever the metric


def test_an_external_scaler_gives_its_target() -> None:
    so = scaled(triggers=[external("demand")], behavior=AT_ONCE, **HPA_ONLY)
    cluster = Cluster(so, 1)
    assert cluster.sync(Reading(2.6, True)) == 3
    assert cluster.history[-1][3] == "demand 2.6 of 1 a replica: 3 wanted"


def test_numbers_are_whole_thousandths() -> None:
    so = scaled(triggers=[external()], behavior={"scaleUp": {"tolerance": 0}, **AT_ONCE}, **HPA_ONLY)
    assert Cluster(so, 2).sync(Reading(2.0004, True)) == 2
    assert Cluster(so, 2).sync(Reading(2.0006, True)) == 3
    for nothing in (-1.0, math.nan, math.inf):
        assert Cluster(so, 2).sync(Reading(nothing, True)) == 1


def utilisation(behavior: dict[str, Any] | None = None, **metadata: str) -> ScaledObject:
    """Where a behaviour is given, the HPA alone decides."""
    triggers = [prometheus_trigger(**metadata)]
    return scaled(triggers=triggers, behavior=behavior, **(HPA_ONLY if behavior else {}))


def test_a_query_is_compared_with_its_threshold_in_thousandths() -> None:
    assert Cluster(utilisation(FREE), 4).sync(3.999) == 6  # of 0.7 a replica: 5.71
    assert Cluster(utilisation(FREE), 4).sync(2.8) == 4
    assert Cluster(utilisation(FREE), 4).sync(1.4) == 2


def test_utilisation_asks_for_at_most_the_running_replicas_over_the_threshold() -> None:
    """However much waits, four busy replicas are a sum of 4: six by 0.7, and nine once six are busy."""
    cluster = Cluster(utilisation(FREE), 4)
    assert [cluster.sync(float(n)) for n in (4, 6, 9)] == [6, 9, 13]


def test_a_query_is_active_over_its_activation_threshold() -> None:
    assert Cluster(utilisation(activationThreshold="0.2")).run(30, 0.2).replicas == 0
    assert Cluster(utilisation(activationThreshold="0.2")).run(30, 0.2001).replicas == 1


@pytest.mark.parametrize("nothing", [NoSeries("the query found nothing"), math.nan, math.inf])
def test_null_is_zero(nothing: Metric) -> None:
    """At zero replicas there are no exporters: that means no work, and not a failure."""
    assert Cluster(utilisation(FREE), 6).sync(nothing) == 1
    # Only the trigger of Prometheus reads this as a null value.
    assert Cluster(scaled(behavior=FREE, **HPA_ONLY), 6).sync(NoSeries("nothing")) == 6


def test_null_is_compared_with_the_activation_threshold() -> None:
    assert Cluster(utilisation(activationThreshold="-1")).run(30, NoSeries("nothing")).replicas == 1


def test_another_trigger_wakes_a_service_whose_query_has_no_series() -> None:
    both = scaled(triggers=[lag_trigger(lagThreshold="1000"), prometheus_trigger()], behavior=FREE)
    nothing = NoSeries("the query found nothing")
    assert Cluster(both).run(600, 0.0, nothing).replicas == 0
    cluster = Cluster(both).run(30, 1.0, nothing)
    assert cluster.replicas == 1
    assert cluster.run(60, 1.0, 1.0).replicas == 2
    # Busy GPUs keep the last one from going, while nothing waits at any poll.
    assert cluster.run(HOUR, 0.0, 0.1).replicas == 1
    assert cluster.run(2 * HOUR, 0.0, nothing).replicas == 0


def test_a_push_activates_immediately() -> None:
    keda = Keda(scaled(triggers=[external()]), 0.0)
    assert keda.step(0, [Reading(0, False)], 0).desired == 0
    decision = keda.push(3.0, 0)
    assert (decision.desired, decision.reason) == (1, "a trigger pushed its activity")
    assert keda.next_at == 7.5
    assert Keda(scaled(triggers=[external()], minReplicaCount=3), 0.0).push(1.0, 0).desired == 3
    assert Keda(scaled(triggers=[external()], minReplicaCount=1), 0.0).push(1.0, 4).desired == 4


def test_a_push_counts_as_activity() -> None:
    cluster = Cluster(scaled(triggers=[external()], cooldownPeriod=60, pollingInterval=10), 2)
    cluster.run(0, Reading(2, True)).run(50, Reading(2, False))
    assert cluster.keda.push(55.0, 2).desired == 2
    assert cluster.run(114, Reading(2, False)).replicas == 2
    assert cluster.run(120, Reading(2, False)).changes == [(120, 2, 0)]


def test_an_early_poll_activates_and_restarts_the_interval() -> None:
    keda = Keda(scaled(pollingInterval=10, **{"cooldownPeriod": 60}), 0.0, sync_after_s=1000.0)
    assert keda.step(0, [0.0], 0).desired == 0
    assert keda.step(3.0, [5.0], 0).desired == 0
    keda.poll_next()
    assert keda.next_at <= 3.0
    assert keda.step(3.0, [5.0], 0).desired == 1
    assert keda.next_at == 13.0


def summed(**spec: Any) -> ScaledObject:
    """The sum of two triggers, with target 10 and free to scale down."""
    modifiers = {"formula": "a + b", "target": "10"}
    return scaled(triggers=[external("a"), external("b")], modifiers=modifiers, behavior=AT_ONCE, **spec)


def test_the_hpa_follows_a_sum() -> None:
    cluster = Cluster(summed(**HPA_ONLY), 2)
    assert cluster.sync(Reading(60, True), 20.0) == 6  # up by 4 at most
    assert cluster.history[-1][3] == "formula 80 of 10 a replica: 8 wanted, 6 within policies and bounds"
    assert cluster.sync(15.0, 5.5) == 3


def test_activity_follows_the_sum() -> None:
    cluster = Cluster(summed(cooldownPeriod=30, pollingInterval=10))
    assert cluster.run(20, Reading(0, True), Reading(0, True)).replicas == 0
    assert cluster.run(30, Reading(0, False), Reading(3, False)).changes == [(30, 0, 1)]
    assert cluster.run(60, Reading(0, True), Reading(0, True)).changes[-1] == (60, 1, 0)


def test_a_push_activates_despite_a_sum() -> None:
    assert Keda(summed(), 0.0).push(1.0, 0).desired == 1


def test_an_error_of_any_trigger_of_a_sum_holds() -> None:
    cluster = Cluster(summed(cooldownPeriod=0), 3).run(600, 90.0, AWAY)
    assert cluster.replicas == 3
    assert "nats is away" in cluster.keda.step(600, [], 3).reason


def test_the_fallback_takes_the_place_of_the_sum() -> None:
    so = summed(fallback={"failureThreshold": 2, "replicas": 4}, **HPA_ONLY)
    cluster = Cluster(so, 2)
    assert cluster.run(7.5, 5.0, AWAY).replicas == 2  # polled at 0 and 7.5
    assert cluster.sync(5.0, AWAY) == 4
    assert cluster.history[-1][3] == "fallback, as nats is away: formula 40 of 10 a replica: 4 wanted"
    assert cluster.sync(5.0, 15.0) == 2
