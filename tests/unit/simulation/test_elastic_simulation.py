"""Degradable work, in the simulator and in the plans of demand: by hand, by properties, and on small surges."""

from __future__ import annotations

import json

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from services.scaler.demand.deferral import DeferralBudget
from services.scaler.demand.observation import Observation, Workers
from services.scaler.demand.parameters import DemandSettings
from services.scaler.demand.policy import Demand
from services.scaler.demand.service_rate import ServiceRate
from shared.contract import names
from shared.elastic.brownout import BrownoutTuning
from tests.support.examples import examples
from tests.support.paths import ROOT
from tests.support.worlds.simulation import World, counts, static, worlds
from tidegate.commands.simulate import simulate
from tidegate.keda import scaledobject
from tidegate.keda.scaledobject import JetStreamTrigger
from tidegate.keda.threshold import lag_threshold
from tidegate.simulation import compare
from tidegate.simulation.engine import Result, ScalerView, Workload, run
from tidegate.simulation.generate import generated
from tidegate.simulation.policies import Fixed, KedaDemand, KedaLag
from tidegate.simulation.queue import Elastic
from tidegate.simulation.trace import Trace

SCALED = scaledobject.load(ROOT / "deploy/keda/demand/cv.yaml")
# One threshold for all, at 3.5 of 10 s; the floor takes 0.16 s of one, and analyses one frame of five.
STEP = Elastic(costs=(1.0, 0.16), analysed=(1.0, 0.2), tuning=BrownoutTuning(begins=(0.35,), spread=0.0))
ONE = Workload(service_rate=1, service_cv=0, batch=1, latency_target_s=10, elastic=STEP)

# ---- by hand: a burst of twenty, a replica that does one a second


def twenty(seconds: int, load: Workload) -> Result:
    return static(counts(20, *[0] * (seconds * 1000 - 1), step_s=1e-3), load, 1)


def test_segments_past_the_threshold_degrade_and_are_in_time() -> None:
    """Four get a full analysis, started after 0 to 3 s; sixteen take 0.16 s each. Without degrading, ten are late."""
    result = twenty(60, ONE)
    assert result.attainment == 1 and result.worst_s == pytest.approx(4 + 16 * 0.16, abs=0.01)
    assert result.deferred == 16 and result.deferred_share == pytest.approx(16 * 0.8 / 20)
    assert result.busy_hours * 3600 == pytest.approx(4 + 16 * 0.16)
    assert twenty(60, msgspec.structs.replace(ONE, elastic=None)).attainment == pytest.approx(0.5, abs=0.051)


def test_an_idle_replica_backfills_deferred_segments_at_full_cost() -> None:
    """One a second from 6.56 s on: after 20 s the fourteenth is in work, and two wait."""
    whole, cut = twenty(60, ONE), twenty(20, ONE)
    assert (whole.backfilled, whole.expired, cut.backfilled, cut.expired) == (16, 0, 14, 0)


@pytest.mark.slow
def test_old_deferred_segments_expire_and_those_left_at_the_end_do_not() -> None:
    aged = twenty(60, msgspec.structs.replace(ONE, max_age_s=12))
    assert (aged.deferred, aged.backfilled, aged.expired) == (16, 6, 10)
    assert aged.never_share == pytest.approx(10 * 0.8 / 20)
    cut = twenty(10, ONE)
    assert (cut.deferred, cut.backfilled, cut.expired, cut.never_share) == (16, 4, 0, 0.0)


def test_a_released_replica_finishes_its_backfill() -> None:
    arrivals = counts(20, *[0] * 59_999, step_s=1e-3)
    result = run(Fixed("down", [(0.0, 1), (7.0, 0)]), arrivals, ONE, initial=1)
    assert (result.deferred, result.backfilled) == (16, 1)
    assert result.replica_hours * 3600 == pytest.approx(7.56, abs=0.01)


# ---- by properties


@given(worlds())
@settings(max_examples=examples(100))
def test_deferred_segments_are_backfilled_expired_or_left(world: World) -> None:
    arrivals, load, schedule, first = world
    load = msgspec.structs.replace(load, elastic=Elastic())
    result = run(Fixed("schedule", [(0.0, first), *schedule]), arrivals, load, initial=first)
    answered = arrivals.total - result.lost
    assert result.deferred_share * answered == pytest.approx(0.8 * result.deferred)
    assert result.never_share * answered == pytest.approx(0.8 * result.expired)
    assert 0 <= result.backfilled + result.expired <= result.deferred <= answered


@given(worlds())
@settings(max_examples=examples(60))
def test_degrading_loses_no_more_and_serves_no_fewer(world: World) -> None:
    """This holds without backfills only: a backfill may be in work as a segment comes."""
    arrivals, load, schedule, first = world
    policy = [(0.0, first), *schedule]
    once = msgspec.structs.replace(load, batch=1, service_cv=0.0)
    rigid = run(Fixed("a", policy), arrivals, msgspec.structs.replace(once, elastic=None), initial=first)
    bent = run(Fixed("b", policy), arrivals, msgspec.structs.replace(once, elastic=Elastic()), initial=first)
    if not bent.backfilled:
        assert bent.lost <= rigid.lost and bent.attainment >= rigid.attainment - 1e-9


# ---- demand in work


def test_deferring_frames_does_not_raise_the_measured_rate() -> None:
    """Four replicas do two a second in full; bent they do 12.5, which are two a second in work."""
    rate = ServiceRate()
    done = work = working = 0.0
    for second in range(120):
        bends = second >= 60
        done += 4 * (12.5 if bends else 2.0)
        work, working = work + 4 * 2.0, working + 4.0
        fleet = Workers(ready=4, loading=0, processed=done, working_s=working, work=work, wanted=done, analysed=work)
        rate.observe(float(second), waiting=50 if bends else 0, fleet=fleet)
        assert second < 2 or rate.value == pytest.approx(2.0)


def observations(*, says: bool, short: float = 0.3) -> list[Observation]:
    """An hour of a fleet that leaves out `short` of its frames. says: whether it tells."""
    found = []
    for t in range(0, 3600, 5):
        arrived = 8 * t + 40 * (t // 600 % 2)
        frames = 5.0 * arrived
        fleet = Workers(ready=4, loading=0, processed=arrived, working_s=3.9 * t)
        if says:
            fleet = msgspec.structs.replace(fleet, work=arrived, wanted=frames, analysed=frames * (1 - short))
        found.append(Observation(time=float(t), arrived=arrived + 6, pending=3, in_flight=3, fleet=fleet))
    return found


def test_demand_is_unchanged_at_a_limit_of_0_or_without_frames() -> None:
    def planned_replicas(limit: float, *, says: bool) -> list[float]:
        demand = Demand(DemandSettings(defer_limit=limit))
        return [demand.observe(o).replicas for o in observations(says=says)]

    as_before = planned_replicas(0.0, says=False)
    assert planned_replicas(0.0, says=True) == as_before == planned_replicas(1.0, says=False)
    assert planned_replicas(1.0, says=True) != as_before


def test_the_explanation_states_deferred_frames_and_the_limits() -> None:
    def line(limit: float) -> str:
        demand = Demand(DemandSettings(loss_budget=0.05, defer_limit=limit))
        estimate = [demand.observe(o) for o in observations(says=True)][-1]
        (found,) = (line for line in estimate.explain() if "were deferred" in line)
        return found

    assert "30.0% of the frames" in line(1.0) and "5.0% may be: the plan is the median" in line(1.0)
    assert "deferred, and 10.0% may be;" in line(0.1) and line(0.1).endswith("the plan relies on deferring none")


def test_a_large_fleet_is_released_once_nothing_arrives() -> None:
    """The peak of the last hour keeps no replica of a site that has gone to rest."""
    arrivals = counts(*[40] * 1200, *[0] * 1200, step_s=1.0)
    load = Workload(service_rate=2, cold_start_s=30, latency_target_s=10, max_replicas=40, elastic=Elastic())
    (result,) = compare.compare(arrivals, load, SCALED, ("demand",))
    assert result.peak_replicas >= 18 and result.timeline[-1][0] < 1500 and result.timeline[-1][1] == 0


# ---- the budget


def fed(
    budget: DeferralBudget, hours: float, deferred: float, never: float, start: Observation | None = None
) -> Observation:
    """Feed some hours in which these shares of frames are deferred, and never analysed; return the last observation."""
    for _ in range(int(hours * 720)):
        before = start.fleet if start and start.fleet else Workers(
            ready=1, loading=0, processed=0, working_s=0, wanted=0, analysed=0
        )  # fmt: skip
        assert before.wanted is not None and before.analysed is not None
        fleet = msgspec.structs.replace(
            before,
            wanted=before.wanted + 50,
            analysed=before.analysed + 50 * (1 - deferred),
            never=before.never + 50 * never,
        )
        start = Observation(time=start.time + 5 if start else 0.0, arrived=0, pending=0, in_flight=0, fleet=fleet)
        budget.observe(start)
    assert start
    return start


SHARES = st.tuples(st.floats(0.01, 3), st.floats(0, 1), st.floats(0, 1))


@given(st.floats(0, 0.3), st.floats(0, 1), st.lists(SHARES, min_size=1, max_size=6))
def test_shares_stay_within_those_of_the_hours(
    loss: float, limit: float, hours: list[tuple[float, float, float]]
) -> None:
    budget = DeferralBudget(loss, limit)
    at = None
    for length, deferred, never in hours:
        at = fed(budget, length, deferred, never, at)
    for share, seen in ((budget.deferred_share, 1), (budget.never_share, 2)):
        assert min(h[seen] for h in hours) - 1e-6 <= share <= max(h[seen] for h in hours) + 1e-6
    assert budget.is_exceeded == (budget.never_share > loss or budget.deferred_share > limit)


def test_a_surge_exceeds_the_budget_until_its_share_fades() -> None:
    budget = DeferralBudget(0.05, 1.0)
    at = fed(budget, 1.0, 0.8, 0.0)
    assert not budget.is_exceeded
    at = fed(budget, 0.1, 0.8, 0.8, at)
    assert budget.is_exceeded
    fed(budget, 2.0, 0.0, 0.0, at)
    assert not budget.is_exceeded


# ---- while the scaler is away


def with_net(load: Workload, *, deferred: bool) -> scaledobject.ScaledObject:
    """The shipped file with thresholds for the load. deferred: with the trigger that the component `elastic` adds."""
    t = lag_threshold(
        load.service_rate, load.latency_target_s, cold_start_s=load.cold_start_s, retention_s=load.max_age_s
    )
    demand, waiting = SCALED.triggers
    assert isinstance(waiting, JetStreamTrigger)
    put_off = msgspec.structs.replace(
        waiting, stream=names.BACKFILL, lag_threshold=t.deferred, activation_lag_threshold=10**9
    )
    net = [msgspec.structs.replace(waiting, lag_threshold=t.fallback), *([put_off] if deferred else [])]
    return msgspec.structs.replace(SCALED, triggers=(demand, *net))


NET = Workload(service_rate=13.4, cold_start_s=60, latency_target_s=2, max_replicas=8, elastic=Elastic())


def steady(rate: float, seconds: int) -> Trace:
    return Trace("steady", 1.0, np.random.default_rng(1).poisson(rate, seconds).astype(np.int64))


@pytest.mark.parametrize(("times", "grows_to"), [(1.5, 2), (2, 2), (4, 4)])
def test_deferred_work_adds_replicas_while_the_scaler_is_away(times: float, grows_to: int) -> None:
    arrivals = steady(times * NET.service_rate, 2400)

    def away(*, deferred: bool) -> Result:
        return run(KedaLag("away", with_net(NET, deferred=deferred)), arrivals, NET, initial=1)

    bent, grown = away(deferred=False), away(deferred=True)
    assert bent.peak_replicas == 1 and bent.deferred_share > 0.3 and bent.backfilled < 0.01 * bent.deferred
    assert grown.peak_replicas == grows_to and grown.deferred_share < bent.deferred_share / 2
    assert grown.timeline[-1][1] == grows_to and grown.window_attainment == bent.window_attainment == 1


def test_deferred_work_starts_no_first_replica() -> None:
    """None runs while the scaler is away and no video comes, whatever is left."""
    left = ScalerView(
        arrived=0, pending=0, in_flight=0, replicas=0, ready=0, processed=0, working_s=0, deferred_waiting=10**6
    )
    net = KedaLag("away", with_net(NET, deferred=True))
    assert [net.decide(15.0 * step, left) for step in range(40)] == [0] * 40


@pytest.mark.parametrize("times", [4, 8])
def test_the_deferred_trigger_changes_little_next_to_working_demand(times: float) -> None:
    """A surge for ten minutes to four and eight times what a replica does, from 0.7 of it and back."""
    r, load = NET.service_rate, msgspec.structs.replace(NET, max_replicas=20)
    rates = np.repeat([0.7 * r, times * r, 0.7 * r, 0.0], [1800, 600, 1800, 300])
    arrivals = Trace("surge", 1.0, np.random.default_rng(1).poisson(rates).astype(np.int64))

    def there(*, deferred: bool) -> Result:
        settings = compare.demand_settings(load)
        policy = KedaDemand("there", with_net(load, deferred=deferred), settings, retention_s=load.max_age_s)
        return run(policy, arrivals, load, initial=1)

    without, with_ = there(deferred=False), there(deferred=True)
    assert without.deferred > 0 and with_.replica_hours == pytest.approx(without.replica_hours, rel=0.05)


# ---- on small surges


@pytest.fixture(scope="module")
def bursts() -> Trace:
    whole = next(t for t in generated() if t.name == "bursts")
    return Trace(whole.name, whole.step_s, whole.counts[: 3 * 3600])


def test_a_surge_degrades_the_frames_and_not_the_latency(bursts: Trace) -> None:
    load = Workload(service_rate=2, cold_start_s=60, latency_target_s=10, max_replicas=40)
    rigid, bound, bent = compare.with_and_without(bursts, load, SCALED, ("demand", "clairvoyant"))
    assert (rigid.name, bound.name, bent.name) == ("demand", "clairvoyant", "demand, elastic")
    assert rigid.window_attainment < 0.9 and rigid.deferred_share == 0
    assert bent.window_attainment >= 0.98 and bent.replica_hours < 1.1 * rigid.replica_hours
    assert 0 < bent.deferred_share < 0.3 and bent.backfilled >= 0.9 * bent.deferred


def test_simulate_reports_deferred_frames() -> None:
    requests = ("--trace", "bursts", "--hours", "1", "--service-rate", "2", "--policy", "demand", "--json")
    rigid, bent = (
        json.loads(CliRunner().invoke(simulate, [*requests, *more]).stdout)["policies"]["demand"]
        for more in ((), ("--loss-budget", "0.05"))
    )
    assert rigid["left_out"] == rigid["deferred"] == 0
    assert 0 < bent["left_out"] < 0.5 and bent["deferred"] >= bent["backfilled"] + bent["expired"] > 0
