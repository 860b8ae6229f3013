"""Demand in words: the sum, the rate, the lag rule and what holds replicas."""

from __future__ import annotations

import pytest

from services.scaler.demand.observation import Observation, Workers
from services.scaler.demand.policy import Demand, DemandSettings
from tests.support.worlds.demand_world import World


def test_the_sum_is_explained_in_words() -> None:
    world = World(lambda t: 10).run(1500)
    e = world.last
    text = " | ".join(e.explain())
    assert f"{e.arrival_rate:.2f} messages a second arrive" in text
    assert f"{e.forecast_rate:.2f} are expected and {e.planned_rate:.2f} planned" in text
    assert e.forecaster in text
    assert f"one busy replica does {e.service_rate:.2f} a second: arrivals call for {e.arrival_replicas:.2f}" in text
    assert f"{e.backlog:.0f} messages wait or are in work, {e.backlog_expected:.0f} will then" in text
    assert f"allows {e.backlog_allowed:.0f}: {e.backlog_replicas:+.2f}" in text
    assert text.endswith(f"{e.replicas:.2f} replicas; {world.ready} are ready and {len(world.warm)} warm up")
    assert "not drained" not in text
    assert e.replicas == pytest.approx(max(e.held_replicas, e.arrival_replicas + e.backlog_replicas))
    assert e.arrival_replicas == pytest.approx(e.planned_rate / e.service_rate)
    assert ("are held" in text) == (e.held_replicas > e.arrival_replicas + e.backlog_replicas)


def test_a_rate_that_is_assumed_is_not_called_measured() -> None:
    demand = Demand(DemandSettings(latency_target_s=2, lag_threshold=12))
    fleet = Workers(ready=0, loading=1, processed=0, working_s=0)
    e = demand.observe(Observation(time=0, arrived=5, pending=5, in_flight=0, fleet=fleet))
    assert e.basis == "demand" and not e.measured
    assert e.service_rate == pytest.approx(8)
    assert "not yet measured, a busy replica may do 8.00 a second" in " ".join(e.explain())


def test_the_lag_rule_is_explained_in_words() -> None:
    demand = Demand(DemandSettings(lag_threshold=10))
    e = demand.observe(Observation(time=0, arrived=25, pending=20, in_flight=5, fleet=None))
    assert e.basis == "lag" and e.active and e.replicas == 2.5
    assert e.explain() == [
        "no worker is heard: the lag rule holds",
        "25 messages wait or are in work: they call for 2.50 replicas",
    ]
    later = demand.observe(Observation(time=10, arrived=25, pending=0, in_flight=0, fleet=None))
    assert later.replicas == 2.5 and "2.50 are held" in later.explain()[-1]
    missing = demand.observe(Observation(time=100, arrived=25, pending=0, in_flight=0, fleet=None))
    assert missing.replicas == 0 and not missing.active


def test_a_stuck_backlog_and_held_replicas_are_explained() -> None:
    world = World(lambda t: 0, poison=200, ready=1).run(300)
    assert world.last.backlog_stuck and "have not drained though there was room: not counted" in " ".join(
        world.last.explain()
    )
    held = World(lambda t: 20, ready=8).run(20).last
    assert "8.00 are held" in " ".join(held.explain())
