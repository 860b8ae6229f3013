"""KEDA with an unreachable scaler, and with one that was absent when the ScaledObject was created.

Seen with KEDA 2.20.2, its adapter and the HPA of Kubernetes 1.36; the rules are in KEDA's `controllers/keda/hpa.go`,
`controllers/keda/util/predicate.go`, `pkg/scaling/scale_handler.go` and `pkg/scaling/executor/scale_scaledobjects.go`.
"""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.kube.keda_cluster import AWAY, Cluster, external, scaled
from tests.support.kube.scaledobjects import lag_trigger
from tidegate.keda.scaledobject import ScaledObject
from tidegate.keda.source import Metric, NoMetricSpec, Reading

NOBODY = NoMetricSpec("nobody answers at scaler:9090")
FALLBACK: dict[str, Any] = {"failureThreshold": 3, "replicas": 1, "behavior": "currentReplicasIfHigher"}
IDLE = Reading(0.0, False)
FIVE = Reading(5.0, True)


def over_http(**metadata: str) -> dict[str, Any]:
    where = {"url": "http://scaler:8080/demand?service=cv", "valueLocation": "demand", "targetValue": "1"}
    return {"type": "metrics-api", "metadata": where | metadata}


def with_net(demand: dict[str, Any], **spec: Any) -> ScaledObject:
    """Demand, and the lag as its safety net, at 100 messages a replica."""
    return scaled(
        triggers=[demand, lag_trigger(lagThreshold="100")],
        behavior={"scaleUp": {"stabilizationWindowSeconds": 0, "policies": FAST}},
        **{"pollingInterval": 5, **spec},
    )


FAST = [{"type": "Percent", "value": 900, "periodSeconds": 15}]


def test_the_hpa_has_the_triggers_that_answer_at_its_creation() -> None:
    """The HPA stays without demand while idle: KEDA reports Ready, and polls only the metrics of the HPA."""
    cluster = Cluster(with_net(external(), fallback=FALLBACK)).run(20, NOBODY, 0.0)
    assert cluster.keda.ready is True
    cluster.run(300, IDLE, 0.0)
    cluster.run(600, FIVE, 10.0)
    assert cluster.replicas == 1


def test_an_active_object_with_an_error_recovers_when_the_scaler_answers() -> None:
    cluster = Cluster(with_net(external(), fallback=FALLBACK)).run(20, NOBODY, 10.0)
    assert (cluster.replicas, cluster.keda.ready) == (1, None)
    cluster.run(45, FIVE, 10.0)
    assert (cluster.replicas, cluster.keda.ready) == (5, True)


def test_an_idle_object_without_fallback_recovers_too() -> None:
    cluster = Cluster(with_net(external())).run(20, NOBODY, 0.0)
    assert (cluster.replicas, cluster.keda.ready) == (0, False)
    cluster.run(30, IDLE, 0.0)
    assert cluster.keda.ready is True
    assert cluster.run(60, FIVE, 10.0).replicas == 5


def test_a_start_from_zero_removes_the_metric_of_an_unreachable_scaler() -> None:
    """KEDA reports Ready as it starts the first replica, and rebuilds the HPA from the triggers that answer then."""
    cluster = Cluster(with_net(external())).run(30, IDLE, 0.0).run(60, NOBODY, 0.0).run(65, NOBODY, 10.0)
    assert (cluster.replicas, cluster.keda.ready) == (1, True)
    back_before_the_next_poll = copy.deepcopy(cluster).run(600, FIVE, 10.0)
    assert back_before_the_next_poll.replicas == 1
    assert cluster.run(75, NOBODY, 10.0).run(120, FIVE, 10.0).replicas == 5


def test_a_push_for_a_metric_outside_the_hpa_is_dropped() -> None:
    cluster = Cluster(with_net(external(), fallback=FALLBACK)).run(20, NOBODY, 0.0)
    assert cluster.keda.push(21.0, 0).desired == 0
    healthy = Cluster(with_net(external(), fallback=FALLBACK)).run(20, IDLE, 0.0)
    assert healthy.keda.push(21.0, 0).desired == 1


@pytest.mark.parametrize("fallback", [None, FALLBACK])
def test_while_one_trigger_has_no_metric_spec_every_metric_is_refused(fallback: dict[str, Any] | None) -> None:
    more: dict[str, Any] = {"fallback": fallback} if fallback else {}
    cluster = Cluster(with_net(external(), **more), 2).run(10, Reading(2.0, True), 20.0)
    cluster.run(300, NOBODY, 1000.0)
    assert cluster.replicas == 2
    assert "nobody answers at scaler:9090" in cluster.keda.step(cluster.keda.next_at, [NOBODY, 1000.0], 2).reason


def test_the_fallback_trigger_holds_if_the_scaler_reports_a_failure() -> None:
    cluster = Cluster(with_net(external()), 2).run(10, Reading(2.0, True), 20.0)
    assert cluster.run(60, AWAY, 1000.0).replicas == 10


def test_the_fallback_trigger_starts_at_most_one_replica_from_zero() -> None:
    cluster = Cluster(with_net(external())).run(300, NOBODY, 1000.0)
    assert cluster.replicas == 1


def test_without_any_answer_there_is_no_hpa_and_no_poll() -> None:
    """It is tried again after twice as long each time, for as long as the scaler was away."""
    cluster = Cluster(scaled(triggers=[external()], pollingInterval=5)).run(15, NOBODY)
    assert (cluster.replicas, cluster.keda.ready) == (0, False)
    assert cluster.keda.push(16.0, 0).desired == 0
    assert cluster.run(20, FIVE).replicas == 0
    assert cluster.run(60, FIVE).replicas == 5


@given(st.floats(0.1, 900))
def test_demand_alone_recovers_after_twice_the_outage(away_s: float) -> None:
    """Demand alone is therefore no cure for a scaler that takes minutes to start."""
    cluster = Cluster(scaled(triggers=[external()], pollingInterval=5)).run(away_s, NOBODY)
    cluster.run(2 * away_s + 1, FIVE)
    assert cluster.replicas >= 1


def test_a_trigger_polled_by_http_always_has_its_metric() -> None:
    so = with_net(over_http())
    cluster = Cluster(so).run(20, NOBODY, 0.0)
    assert (cluster.replicas, cluster.keda.ready) == (0, False)
    assert cluster.run(40, 5.0, 10.0).replicas == 5


def test_the_fallback_trigger_scales_during_an_outage_of_http_demand() -> None:
    cluster = Cluster(with_net(over_http(), maxReplicaCount=8)).run(60, NOBODY, 1000.0)
    assert cluster.replicas == 8
    assert cluster.run(600, NOBODY, 0.0).replicas == 8, "what can't be known lets nothing go"


@given(
    st.lists(st.tuples(st.booleans(), st.sampled_from([0, 50, 150, 1000])), max_size=40),
    st.floats(1, 600),
)
def test_demand_by_http_is_followed_within_a_minute_of_any_history(
    before: list[tuple[bool, int]], each_s: float
) -> None:
    """The scaler, the video and NATS come and go in any order."""
    cluster = Cluster(with_net(over_http(), maxReplicaCount=8))
    for there, lag in before:
        metric: Metric = min(8.0, lag / 50) if there else NOBODY
        cluster.run(cluster.now + each_s, metric, float(lag))
    cluster.run(cluster.now + 60, 5.0, 100.0)
    assert cluster.replicas >= 5
    assert cluster.keda.ready is True
