"""Deferred segments request replicas by the time when their video expires: by counts, and for real."""

from __future__ import annotations

import msgspec
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from nats.aio.client import Client

from services.scaler.demand.deferral import DeferralBudget
from services.scaler.demand.expiry import BackfillDeadlines
from services.scaler.demand.observation import DeferredSegments, Observation, Workers, faster
from services.scaler.demand.parameters import DemandSettings
from services.scaler.demand.policy import Demand
from services.scaler.live.metadata import _warn, parse
from shared import bus
from shared.contract import names
from shared.contract.questions.explain import Explanation
from shared.runtime.errors import SettingError
from tests.support.paths import ROOT
from tests.support.waiting import until
from tests.support.worlds.scalers import estimating
from tidegate.keda import scaledobject
from tidegate.local.server import NatsServer
from tidegate.simulation import compare
from tidegate.simulation.engine import Result, Workload
from tidegate.simulation.generate import generated
from tidegate.simulation.queue import Elastic
from tidegate.simulation.trace import Trace

SCALED = scaledobject.load(ROOT / "deploy/keda/demand/cv.yaml")

# ---- by counts


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=200),
    st.integers(1, 60),
    st.integers(0, 8),
)
def test_the_deadline_that_needs_most_decides(seconds: list[tuple[int, int]], retention: int, spare: int) -> None:
    """Compare with a queue that has the time of each deferral. The oldest are backfilled first, or have expired."""
    deadlines, waiting, ever = BackfillDeadlines(), [], 0
    for now, (more, done) in enumerate(seconds):
        waiting += [now] * more
        ever += more
        # Deferred video at the first observation may be older than that: it counts as new.
        del waiting[: done if now else 0]
        due = deadlines.due(now, DeferredSegments(ever=ever, waiting=len(waiting), retention_s=retention), spare=spare)
        stored = [at for at in waiting if now - at < retention]
        rates = [(n + 1 - spare) / max(15, at + retention - now) for n, at in enumerate(stored)]
        assert due.rate == pytest.approx(max([0.0, *rates]))
        assert 0 <= due.segments <= len(stored)


def test_nothing_is_due_without_an_answer() -> None:
    assert BackfillDeadlines().due(1e6, None, spare=0) == (0, 0)


def test_a_count_that_restarts_is_tolerated() -> None:
    deadlines = BackfillDeadlines()
    deadlines.due(0, DeferredSegments(ever=90, waiting=20, retention_s=60), spare=0)
    assert deadlines.due(20, DeferredSegments(ever=90, waiting=20, retention_s=60), spare=0) == (20, 20 / 40)
    assert deadlines.due(30, DeferredSegments(ever=5, waiting=5, retention_s=60), spare=0) == (5, 5 / 60)
    assert deadlines.due(90, DeferredSegments(ever=5, waiting=5, retention_s=60), spare=0) == (0, 0)


def test_a_long_retention_takes_little_memory() -> None:
    deadlines = BackfillDeadlines()
    for now in range(20_000):
        due = deadlines.due(now, DeferredSegments(ever=now + 1, waiting=now + 1, retention_s=10_000), spare=0)
    assert len(deadlines._steps) <= 101
    # One a second expires. The deadlines are those of the oldest, so the rate may be twice that.
    assert due.segments > 0 and 1.0 <= due.rate <= 2.0


def test_a_faster_clock_scales_the_retention_of_video() -> None:
    put_off = faster(idle(10.0, None, 5), 6.0).deferred
    assert put_off is not None and put_off.retention_s == 3600


# ---- requested replicas


def idle(now: float, fleet: Workers | None, waiting: int) -> Observation:
    """No arrivals, and `waiting` deferred at 0 s."""
    put_off = DeferredSegments(ever=waiting, waiting=waiting, retention_s=600)
    return Observation(time=now, arrived=100, pending=0, in_flight=0, fleet=fleet, deferred=put_off)


@pytest.mark.parametrize("heard", [True, False])
def test_a_replica_runs_until_deferred_video_is_backfilled_or_expired(heard: bool) -> None:
    demand = Demand(DemandSettings(cold_start_s=30, lag_threshold=15))
    fleet = Workers(ready=0, loading=0, processed=0, working_s=0) if heard else None
    active = [demand.observe(idle(float(t), fleet, 200)).active for t in range(0, 700, 5)]
    assert all(active[:120]) and not any(active[120:])


def test_enough_replicas_are_requested_for_a_timely_backfill() -> None:
    """One replica does ten a second, and 145 s are left."""
    demand = Demand(DemandSettings(cold_start_s=60, latency_target_s=2, lag_threshold=15))
    for t in range(0, 460, 5):
        estimate = demand.observe(idle(float(t), Workers(ready=0, loading=0, processed=0, working_s=0), 2900))
    assert (estimate.expiring, estimate.service_rate) == (2900, 10)
    assert estimate.replicas == estimate.expiry_replicas == pytest.approx(2.0)
    (line,) = (line for line in estimate.explain() if "their video" in line)
    assert line.startswith("2900 deferred segments will soon lose their video") and "+2.00" in line


def test_deferred_segments_within_the_budget_request_no_replica() -> None:
    """Of 1000 frames, 60 may be lost at a budget of 6 %: that is 15 segments, of which each misses four."""

    def due(waiting: int, *, never: float = 0.0) -> float:
        demand = Demand(DemandSettings(loss_budget=0.06))
        for t, frames in ((0.0, 0.0), (5.0, 1000.0)):
            fleet = Workers(
                ready=1, loading=0, processed=0, working_s=0, work=0.0, wanted=frames, analysed=0.9 * frames,
                never=never * frames / 1000,
            )  # fmt: skip
            put_off = DeferredSegments(ever=25 if t else 0, waiting=waiting if t else 0, retention_s=600)
            o = Observation(time=t, arrived=0, pending=0, in_flight=0, fleet=fleet, deferred=put_off)
            estimate = demand.observe(o)
        return estimate.expiring

    assert due(15) == 0
    assert due(16) == pytest.approx(1, abs=0.1)
    assert due(16, never=40.0) == pytest.approx(11, abs=0.1)


@pytest.mark.parametrize("unknown", [{0}, {1}, {0, 1}])
def test_segments_of_before_a_gap_do_not_grow_the_budget(unknown: set[int]) -> None:
    """The scaler knows the count of deferred segments later than its first heartbeats, or not for a while."""
    budget = DeferralBudget(0.06, 1.0)
    for n in range(4):
        fleet = Workers(
            ready=1, loading=0, processed=0, working_s=0, wanted=1000.0 * n, analysed=900.0 * n
        )  # fmt: skip
        put_off = DeferredSegments(ever=50_000 + 25 * n, waiting=0, retention_s=600)
        deferred = None if n in unknown else put_off
        o = Observation(time=5.0 * n, arrived=0, pending=0, in_flight=0, fleet=fleet, deferred=deferred)
        budget.observe(o)
    # 180 frames may be lost, of segments that miss four each.
    assert 0 < budget.spare_segments <= 45.1


def test_keys_of_the_last_release_are_accepted_with_a_warning() -> None:
    _warn.cache_clear()
    with structlog.testing.capture_logs() as logs:
        query = parse({"service": "cv", "deferBudget": "0.05", "backfillGrace": "2m"})
    assert query == parse({"service": "cv", "deferLimit": "0.05"})
    logged = " ".join(log["event"] for log in logs)
    assert "deferBudget, which the next release refuses: write deferLimit" in logged
    assert "backfillGrace, which the next release refuses: remove it" in logged
    with pytest.raises(SettingError, match="the keys deferBudget and deferLimit, which are the same"):
        parse({"service": "cv", "deferBudget": "0.05", "deferLimit": "0.05"})


# ---- in the simulator


@pytest.mark.slow
def test_the_budget_of_lost_frames_holds_under_constant_load() -> None:
    whole = next(t for t in generated() if t.name == "ramp")
    ramp = Trace(whole.name, whole.step_s, whole.counts[: 4 * 3600])
    load = Workload(service_rate=2, cold_start_s=60, latency_target_s=10, max_replicas=40, elastic=Elastic())

    def demand(budget: float) -> Result:
        (result,) = compare.compare(ramp, msgspec.structs.replace(load, loss_budget=budget), SCALED, ("demand",))
        return result

    results = [demand(budget) for budget in (0.0, 0.02, 0.1)]
    assert [r.window_attainment for r in results] == pytest.approx([1.0] * 3, abs=0.02)
    assert results[0].never_share < 0.01 and results[1].never_share < 0.03
    assert results[0].replica_hours > results[1].replica_hours >= results[2].replica_hours


# ---- on a real server


async def test_deferred_video_on_a_real_server_requests_a_replica(server: NatsServer, admin: Client) -> None:
    """With the scaler's few rights: cv's consumer counts its deferred segments, and not those of embed."""
    js = admin.jetstream()
    config = (await js.stream_info(names.MEDIA)).config
    config.max_age = config.duplicate_window = 60
    await js.update_stream(config)
    query = parse({"service": "cv", "coldStart": "1", "lagThreshold": "20"})
    async with estimating(server) as live_metrics:
        live = live_metrics.get(query)
        assert not (await live.answer()).active
        worker = await bus.connect(server.settings("embed"), "embed")
        await worker.jetstream().publish(names.backfill("embed", "lobby"), b"job")
        await worker.close()
        worker = await bus.connect(server.settings("cv"), "cv")
        for _ in range(3):
            await worker.jetstream().publish(names.backfill("cv", "lobby"), b"job")

        def found() -> Explanation:
            return live.explanation()

        await until(lambda: found().terms.get("due") == 3)
        assert (await live.answer()).active and any("3 deferred segments" in line for line in found().lines)
        pull = await worker.jetstream().pull_subscribe_bind(names.backfilling("cv"), names.BACKFILL)
        for job in await pull.fetch(3):
            await job.ack_sync()
        await until(lambda: found().terms.get("due") == 0)
        await js.delete_consumer(names.BACKFILL, names.backfilling("cv"))
        await until(lambda: any("unknown and not counted: consumer cv-backfill" in line for line in found().lines))
        await worker.close()
