"""A scaler that takes over: it has its predecessor's history, and requests the same replicas."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import random
import time
import zlib
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.aio.client import Client

from services.scaler.demand.observation import DeferredSegments, Observation, Workers
from services.scaler.demand.parameters import DemandSettings
from services.scaler.demand.policy import Demand
from services.scaler.live.consumer_demand import LiveDemand
from services.scaler.live.history import HISTORY_S, MOST_BYTES, History, Unreadable, unpacked
from services.scaler.live.live_metrics import LiveMetrics
from services.scaler.live.metadata import parse
from shared import bus
from shared.contract import names, topology
from shared.contract.reading.entries import entries
from shared.contract.work import stats
from shared.contract.work.stats import WorkerStats
from shared.runtime.errors import TidegateError
from shared.runtime.tasks import end
from tests.support.messages import consume
from tests.support.waiting import patience_s
from tests.support.worlds.demand_world import World
from tests.support.worlds.scalers import estimating, publish
from tidegate.local.server import NatsServer

WALL = 1.7e9


def observation(at: float, arrived: int = 0, *, anew: bool = False, heard: bool = True) -> Observation:
    fleet = Workers(ready=2, loading=1, processed=float(arrived), working_s=arrived / 4) if heard else None
    if fleet and arrived % 3:
        fleet = msgspec.structs.replace(fleet, work=arrived / 8, wanted=5.0 * arrived, analysed=float(arrived))
    put_off = DeferredSegments(ever=arrived // 2, waiting=arrived % 7, retention_s=600.0) if arrived % 2 else None
    return Observation(
        time=at, arrived=arrived, pending=3, in_flight=2, fleet=fleet, deferred=put_off, is_new_observer=anew
    )


@given(
    st.lists(st.tuples(st.floats(0, 100), st.integers(0, 10**6), st.booleans(), st.booleans()), max_size=50),
    st.floats(0, 5000),
    st.floats(0, 1e6),
)
def test_another_machine_reads_the_same_history(
    rows: list[tuple[float, int, bool, bool]], later_s: float, monotonic: float
) -> None:
    """In the machine's own time: an age of a minute becomes a minute plus the transfer."""
    history, now = History(), 100.0
    for step, arrived, anew, heard in rows:
        now += step
        history.add(observation(now, arrived, anew=anew, heard=heard))
    found = unpacked(history.packed(now, WALL), monotonic, WALL + later_s)
    expected = [
        msgspec.structs.replace(o, time=monotonic - later_s - (now - o.time))
        for o in history.observations
        if now - o.time + later_s <= HISTORY_S - 0.01
    ]
    found = found[-len(expected) :] if expected else found[:0]
    assert [o.time for o in found] == pytest.approx([o.time for o in expected], abs=0.01)
    assert [msgspec.structs.replace(o, time=0) for o in found] == [msgspec.structs.replace(o, time=0) for o in expected]


def test_an_hour_of_history_is_small() -> None:
    history, rng, arrived = History(), random.Random(1), 0
    for second in range(2 * 3600):
        arrived += rng.randrange(20)
        history.add(observation(second + rng.random() / 50, arrived))
    assert len(history.observations) in (3600, 3601)
    assert len(history.packed(7200.0, WALL)) < 40_000


def test_the_history_of_an_older_release_is_read() -> None:
    rows = [(0, 10, 3, 2, False, (2, 1, 10.0, 2500)), (1000, 5, 0, 0, False, None)]
    first, second = unpacked(zlib.compress(msgspec.msgpack.encode([WALL, rows])), 100.0, WALL)
    assert first.fleet == Workers(ready=2, loading=1, processed=10.0, working_s=2.5)
    assert (first.time, second.time, second.arrived) == (99.0, 100.0, 15)


def test_a_slow_clock_writes_no_future_history() -> None:
    history = History([observation(100.0)])
    [found] = unpacked(history.packed(100.0, WALL), 50.0, WALL - 3600)
    assert found.time == 50.0


@given(st.binary(max_size=200) | st.binary(max_size=200).map(zlib.compress))
def test_other_bytes_are_refused(data: bytes) -> None:
    with contextlib.suppress(Unreadable):
        unpacked(data, 0.0, 0.0)


counts = st.integers(-(2**70), 2**70) | st.integers(-5, 3000)
numbers = st.floats(allow_nan=False) | st.integers(-5, 5).map(float)
_row = (counts, counts, counts, counts, st.booleans(), st.none() | st.tuples(counts, counts, numbers, counts))
forged = st.tuples(*_row) | st.tuples(*_row, st.none() | st.tuples(counts, counts, counts))


@given(numbers, st.lists(forged, max_size=20))
def test_a_forged_history_is_refused_or_harmless(at: float, rows: list[Any]) -> None:
    """Regression: five million loading replicas took over a second of the scaler, and minus three all of its memory."""
    try:
        data = zlib.compress(msgspec.msgpack.encode([at, rows]))
    except (OverflowError, msgspec.MsgspecError):
        return
    with contextlib.suppress(Unreadable):
        demand = Demand(DemandSettings())
        for o in unpacked(data, 1e5, WALL):
            assert 0 <= demand.observe(o).replicas < 1e30


def test_a_history_that_would_fill_memory_is_refused() -> None:
    with pytest.raises(Unreadable):
        unpacked(zlib.compress(bytes(100 * MOST_BYTES)), 0.0, 0.0)


@pytest.mark.parametrize("rate", [3.0, 11.0, 30.0])
@pytest.mark.parametrize("cold", [10, 60, 180])
def test_a_scaler_with_the_history_requests_the_same_replicas(rate: float, cold: int) -> None:
    """At any time of an oscillating load, whatever the other scaler has counted of the workers' sums."""
    world = World(lambda t: rate * (1.2 if t % 900 < 450 else 0.6), cold=cold)
    history = History()
    anew = []
    for _minute in range(40):
        for _ in range(60):
            world.run(1)
            history.add(world.observation())
        now = float(world.now)
        other, beginner = Demand(world.settings), Demand(world.settings)
        for o in unpacked(history.packed(now, WALL), now, WALL):
            reply = other.observe(o)
        assert reply.replicas == pytest.approx(world.last.replicas, abs=0.05)
        next_one = msgspec.structs.replace(world.observation(), time=now + 1)
        fleet = msgspec.structs.replace(next_one.fleet, processed=7.0, working_s=0.5) if next_one.fleet else None
        taken_over = other.observe(msgspec.structs.replace(next_one, is_new_observer=True, fleet=fleet))
        assert taken_over.replicas == pytest.approx(copy.deepcopy(world.demand).observe(next_one).replicas, abs=0.3)
        anew.append(abs(beginner.observe(next_one).replicas - world.last.replicas))
    assert max(anew) > 0.8


# ---- over a real server


def scaler(server: NatsServer) -> AbstractAsyncContextManager[LiveMetrics]:
    """One of two scalers, which stores its history."""
    return estimating(server, keeps=True)


@asynccontextmanager
async def workers(server: NatsServer, count: int, rate: float) -> AsyncIterator[None]:
    """Run `count` busy workers of cv, each with its own heartbeats."""
    client = await bus.connect(server.settings("cv"), "cv")
    began = time.monotonic()

    async def beat() -> None:
        while True:
            busy_s = time.monotonic() - began
            for n in range(count):
                heartbeat = WorkerStats(
                    service="cv", replica=f"cv-{n}", pid=n, state="ready", model="m", uptime_s=busy_s, in_flight=2,
                    processed=int(rate * busy_s), failed=0, items=0, busy_s=busy_s, working_s=busy_s,
                )  # fmt: skip
                await client.publish(names.stats("cv", heartbeat.replica), stats.encode(heartbeat))
            await asyncio.sleep(0.25)

    task = asyncio.create_task(beat())
    try:
        yield
    finally:
        await end(task)
        await client.close()


def live(live_metrics: LiveMetrics, **more: str) -> LiveDemand:
    found = live_metrics.get(parse({"service": "cv", "coldStart": "4", "latencyTarget": "2", **more}))
    assert isinstance(found, LiveDemand)
    return found


async def measured(demand: LiveDemand) -> float:
    """The measured rate of a replica, once there is one."""
    async with asyncio.timeout(patience_s()):
        while not (demand.estimate and demand.estimate.measured):
            await asyncio.sleep(0.05)
    return demand.estimate.service_rate


async def test_the_standby_scaler_knows_the_rate_that_the_first_measured(server: NatsServer, admin: Client) -> None:
    """It knows this without any request: KEDA calls one of the two."""
    async with scaler(server) as standby, workers(server, 4, rate=3.0):
        async with scaler(server) as first:
            await publish(admin, 200)
            rate = await measured(live(first))
            before = (await live(first).answer()).value
        after = await live(standby).answer()
        estimate = live(standby).estimate
        assert estimate and estimate.measured and estimate.basis == "demand"
        assert estimate.service_rate == pytest.approx(rate, rel=0.2)
        assert after.value == pytest.approx(before, rel=0.3)
        assert live(standby).monitor.observations[0].time < live(standby).requested_at - 1
    await consume(admin, 200)


async def test_a_changed_setting_starts_with_the_history(server: NatsServer, admin: Client) -> None:
    async with scaler(server) as one, workers(server, 4, rate=3.0):
        rate = await measured(live(one))
        changed = live(one, coldStart="5")
        assert changed.estimate and changed.estimate.service_rate == pytest.approx(rate, rel=0.1)


@pytest.mark.parametrize("data", [b"nonsense", b""])
async def test_an_invalid_history_is_ignored(
    server: NatsServer,
    admin: Client,
    data: bytes,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("services.scaler.live.monitor.STORE_S", 0.2)
    async with scaler(server) as one:
        await live(one).answer()
        await stored(admin)
    [key] = await entries(admin.jetstream(), names.SCALER)
    assert key.startswith("cv.")
    await (await admin.jetstream().key_value(names.SCALER)).put(key, data)
    async with scaler(server) as one:
        assert (await live(one).answer()).value == 0.0
    assert "this scaler starts without it" in "".join(capfd.readouterr())


async def test_a_missing_bucket_is_reported_and_scaling_works(
    server: NatsServer, admin: Client, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A version without the bucket set up the cluster. The scaler stores its history once the bucket is there."""
    monkeypatch.setattr("services.scaler.live.monitor.STORE_S", 0.2)
    await admin.jetstream().delete_stream(f"KV_{names.SCALER}")
    async with scaler(server) as one:
        await publish(admin, 40)
        async with asyncio.timeout(patience_s()):
            while True:
                with contextlib.suppress(TidegateError):
                    if (await live(one).answer()).value > 0:
                        break
                await asyncio.sleep(0.1)
        assert "tidegate setup" in "".join(capfd.readouterr())
        await topology.apply(admin.jetstream(), topology.TopologySettings())
        await stored(admin)
    assert "the history is stored again" in "".join(capfd.readouterr())


@pytest.mark.slow
async def test_an_outage_at_the_first_request_loses_no_history(
    server: NatsServer, admin: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.scaler.live.monitor.STORE_S", 0.2)
    async with scaler(server) as first:
        await live(first).answer()
        await stored(admin)
        await asyncio.sleep(1.5)
        oldest = live(first).monitor.observations[0].time
    async with scaler(server) as second:
        await server.stop()
        with pytest.raises(TidegateError):
            await live(second).answer()
        await asyncio.sleep(5)
        await server.start()
        async with asyncio.timeout(patience_s()):
            while not live(second).monitor.observations:
                await asyncio.sleep(0.1)
        # Its own observations begin after the outage.
        assert live(second).monitor.observations[0].time == pytest.approx(oldest, abs=2.0)


async def stored(admin: Client) -> None:
    """Wait until the bucket has an entry."""
    async with asyncio.timeout(patience_s()):
        while not (await admin.jetstream().stream_info(f"KV_{names.SCALER}")).state.messages:
            await asyncio.sleep(0.05)
