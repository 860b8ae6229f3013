"""Deferred video that is about to expire requests replicas if `backfillGrace` is set: by counts, and for real."""

from __future__ import annotations

import json

import msgspec
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from nats.aio.client import Client

from services.scaler.demand.expiry import ExpiryForecast
from services.scaler.demand.observation import DeferredSegments, Observation, Workers, faster
from services.scaler.demand.parameters import DemandSettings
from services.scaler.demand.policy import Demand
from services.scaler.live.metadata import parse
from shared import bus
from shared.contract import names
from shared.contract.questions.explain import Explanation
from shared.runtime.errors import SettingError
from tests.support.paths import ROOT
from tests.support.waiting import until
from tests.support.worlds.scalers import estimating
from tidegate.commands.simulate import simulate
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
    st.integers(1, 40),
    st.integers(1, 60),
)
def test_deferred_video_is_due_within_the_grace_of_its_expiry(
    seconds: list[tuple[int, int]], grace: int, remaining: int
) -> None:
    """Compare with a queue that has the time of each deferral. The oldest are backfilled first, or have expired."""
    due, waiting, ever = ExpiryForecast(grace), [], 0
    for now, (more, done) in enumerate(seconds):
        waiting += [now] * more
        ever += more
        # Deferred video at the first observation may be older than that: the forecast counts it as new.
        del waiting[: done if now else 0]
        put_off = DeferredSegments(ever=ever, waiting=len(waiting), retention_s=remaining)
        expected = [at for at in waiting if max(0, remaining - grace) <= now - at < remaining]
        assert due.measure(now, put_off) == len(expected)


def test_nothing_is_due_without_a_grace_or_an_answer() -> None:
    assert ExpiryForecast(0).measure(1e6, DeferredSegments(ever=50, waiting=50, retention_s=60)) == 0
    assert ExpiryForecast(60).measure(1e6, None) == 0


def test_a_count_that_restarts_is_tolerated() -> None:
    due = ExpiryForecast(50)
    due.measure(0, DeferredSegments(ever=90, waiting=20, retention_s=60))
    assert due.measure(20, DeferredSegments(ever=90, waiting=20, retention_s=60)) == 20
    assert due.measure(30, DeferredSegments(ever=5, waiting=5, retention_s=60)) == 0
    assert due.measure(45, DeferredSegments(ever=5, waiting=5, retention_s=60)) == 5


def test_a_faster_clock_scales_the_retention_of_video() -> None:
    put_off = faster(idle(10.0, None, 5), 6.0).deferred
    assert put_off is not None and put_off.retention_s == 3600


# ---- requested replicas


def idle(now: float, fleet: Workers | None, waiting: int) -> Observation:
    """No arrivals, and `waiting` deferred at 0 s."""
    put_off = DeferredSegments(ever=waiting, waiting=waiting, retention_s=600)
    return Observation(time=now, arrived=100, pending=0, in_flight=0, fleet=fleet, deferred=put_off)


@pytest.mark.parametrize("heard", [True, False])
def test_a_replica_starts_just_in_time_for_expiring_video(heard: bool) -> None:
    def active(grace_s: float) -> list[bool]:
        demand = Demand(DemandSettings(cold_start_s=30, backfill_grace_s=grace_s, lag_threshold=15))
        fleet = Workers(ready=0, loading=0, processed=0, working_s=0) if heard else None
        return [demand.observe(idle(float(t), fleet, 200)).active for t in range(0, 700, 5)]

    request = active(120)
    # In the first minutes the observer lacks data; and expired video is no reason.
    assert not any(request[60:95]) and all(request[96:120]) and not any(request[120:])
    assert not any(active(0)[60:])


def test_enough_replicas_are_requested_for_a_timely_backfill() -> None:
    """One replica does ten a second, and has 72.5 s once it is there."""
    demand = Demand(DemandSettings(cold_start_s=60, latency_target_s=2, lag_threshold=15, backfill_grace_s=140))
    for t in range(0, 465, 5):
        estimate = demand.observe(idle(float(t), Workers(ready=0, loading=0, processed=0, working_s=0), 2900))
    assert (estimate.expiring, estimate.service_rate) == (2900, 10)
    assert estimate.replicas == estimate.expiry_replicas == pytest.approx(4.0)
    (line,) = (line for line in estimate.explain() if "their video" in line)
    assert line.startswith("2900 deferred segments will soon lose their video") and "+4.00" in line


def test_implausible_metadata_is_refused() -> None:
    assert parse({"service": "cv", "coldStart": "60", "backfillGrace": "2m"}) == parse(
        {"service": "cv", "backfillGrace": "120"}
    )
    with pytest.raises(SettingError, match="backfillGrace is 60 s, and a replica takes coldStart, 60 s, to start"):
        parse({"service": "embed", "backfillGrace": "60"})
    with pytest.raises(SettingError, match="backfillGrace, and service vlm defers no frames: remove it"):
        parse({"service": "vlm", "backfillGrace": "600"})


# ---- in the simulator


@pytest.mark.slow
def test_expiring_video_under_constant_load_is_backfilled() -> None:
    whole = next(t for t in generated() if t.name == "ramp")
    ramp = Trace(whole.name, whole.step_s, whole.counts[: 4 * 3600])
    load = Workload(
        service_rate=2, cold_start_s=60, latency_target_s=10, max_replicas=40, elastic=Elastic(), defer_budget=0.06
    )

    def demand(grace_s: float) -> Result:
        (result,) = compare.compare(ramp, msgspec.structs.replace(load, backfill_grace_s=grace_s), SCALED, ("demand",))
        return result

    without, with_ = demand(0), demand(300)
    assert without.backfilled < 0.4 * (without.backfilled + without.expired)
    assert with_.backfilled > 0.9 * (with_.backfilled + with_.expired)
    assert with_.window_attainment >= without.window_attainment
    assert with_.replica_hours < 1.2 * without.replica_hours


@pytest.mark.slow
def test_simulate_accepts_a_grace_for_degradable_work() -> None:
    requests = ("--trace", "ramp", "--hours", "0.5", "--service-rate", "2", "--policy", "demand", "--json")
    done = CliRunner().invoke(simulate, [*requests, "--defer-budget", "0.06", "--backfill-grace", "200"])
    assert done.exit_code == 0 and json.loads(done.stdout)["policies"]["demand"]["deferred"] >= 0
    for more in ((), ("--defer-budget", "0.06", "--cold-start", "200"), ("--defer-budget", "0.06", "--max-age", "200")):
        refused = CliRunner().invoke(simulate, [*requests, *more, "--backfill-grace", "200"])
        assert refused.exit_code and "--backfill-grace 200 can't be used" in str(refused.exception)


# ---- on a real server


async def test_deferred_video_on_a_real_server_requests_a_replica(server: NatsServer, admin: Client) -> None:
    """With the scaler's few rights: cv's consumer counts its deferred segments, and not those of embed."""
    js = admin.jetstream()
    config = (await js.stream_info(names.MEDIA)).config
    config.max_age = config.duplicate_window = 60
    await js.update_stream(config)
    query = parse({"service": "cv", "coldStart": "1", "backfillGrace": "57", "lagThreshold": "20"})
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
