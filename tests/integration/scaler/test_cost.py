"""The cost of replicas: the sums are always consistent, and both scalers export them."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.aio.client import Client
from prometheus_client import REGISTRY

from services.scaler.cost import Cost, Spent
from services.scaler.live.heartbeats import SILENCE_S, Beat, Heartbeats
from shared import bus
from shared.contract import names
from shared.contract.work import stats
from shared.contract.work.stats import WorkerStats
from shared.runtime.tasks import end
from tests.support.kube.keda_calls import ANY_PORTS
from tests.support.paths import ROOT
from tests.support.waiting import patience_s, until
from tidegate.keda.scaledobject import load
from tidegate.local.scaling.autoscaler import Autoscaler, observing
from tidegate.local.scaling.replicas import Replicas
from tidegate.local.server import NatsServer

SCALED = load(ROOT / "deploy/keda/cv.yaml")
IDLE_WORKER = [sys.executable, "-S", "-c", "import time; time.sleep(600)"]
PARTS = ("busy", "idle", "warming")

# Seconds since the last update; replicas requested, alive and warming; time alive and busy meanwhile.
seconds = st.floats(0, 1000)
counts = st.integers(0, 50)
updates = st.lists(st.tuples(seconds, counts, counts, counts, seconds, seconds), max_size=60)


@given(updates)
def test_used_time_is_busy_idle_or_warming(steps: list[tuple[float, int, int, int, float, float]]) -> None:
    cost = Cost(0.0)
    now = used = working = 0.0
    last = cost.spent
    for passed, replicas, living, warming, lived, busy in steps:
        now, used, working = now + passed, used + lived, working + busy
        spent = cost.charge(now, replicas=replicas, living=living, warming=warming, used_s=used, working_s=working)
        assert spent.used_s == pytest.approx(used)
        assert spent.busy_s + spent.idle_s + spent.warming_s == pytest.approx(spent.used_s)
        assert spent.busy_s <= working + 1e-6
        for part in ("busy_s", "idle_s", "warming_s", "used_s", "peak", "seconds"):
            assert getattr(spent, part) >= getattr(last, part)
        assert spent.saving <= 1
        last = spent
    assert last.peak == max((s[1] for s in steps), default=0)
    assert last.describe()


@given(st.lists(st.floats(0, 1), min_size=1, max_size=50), st.integers(1, 8), st.integers(1, 20))
def test_late_reports_of_work_are_counted_once(shares: list[float], replicas: int, looks: int) -> None:
    """Heartbeats come once a second, and the account is read more often: it counts all work in the end."""
    cost = Cost(0.0)
    working = used = now = 0.0
    for share in [*shares, 0.0, 0.0]:
        for _ in range(looks):
            now += 1 / looks
            used += replicas / looks
            cost.charge(now, replicas=replicas, living=replicas, warming=0, used_s=used, working_s=working)
        working += share * replicas
    assert cost.spent.busy_s == pytest.approx(working)


def test_a_peak_sized_fleet_saves_nothing_and_no_fleet_saves_all() -> None:
    cost = Cost(100.0)
    assert cost.spent.saving == 0.0
    spent = cost.charge(100.0, replicas=0, living=0, warming=0, used_s=0.0, working_s=0.0)
    assert (spent.saving, spent.static_s) == (0.0, 0.0)
    assert spent.describe() == "ran 0 s; replica-seconds used: 0 (0 busy, 0 idle, 0 warming up)"
    spent = cost.charge(110.0, replicas=2, living=2, warming=2, used_s=20.0, working_s=0.0)
    assert (spent.saving, spent.warming_s) == (0.0, 20.0)
    spent = cost.charge(120.0, replicas=0, living=0, warming=0, used_s=20.0, working_s=0.0)
    assert spent.saving == 0.5
    assert spent.describe().splitlines()[1] == "a static fleet for the peak of 2 workers: 40; saved: 50%"


def test_heartbeats_cover_the_time_between_them_and_no_silence() -> None:
    heartbeats = Heartbeats()

    def beat(at: float, pid: int = 1, working_s: float = 0.0) -> None:
        heartbeats.beat(Beat(replica="cv-0", pid=pid, state="ready", processed=0, working_s=working_s), at)

    beat(0.0)
    beat(1.0, working_s=0.5)
    beat(2.0, working_s=1.5)
    assert (heartbeats.lived_s, heartbeats.working_s) == (2.0, 1.5)
    beat(4.0, pid=2, working_s=0.25)  # another process: the time in between belongs to neither
    assert (heartbeats.lived_s, heartbeats.working_s) == (2.0, 1.75)
    beat(4.0 + SILENCE_S + 1, pid=2)
    assert heartbeats.lived_s == 2.0


def worker(replica: str, working_s: float, state: str = "ready") -> bytes:
    return stats.encode(
        msgspec.convert(
            {
                **{"service": "cv", "replica": replica, "pid": 1, "state": state, "model": "m", "uptime_s": 1.0},
                **{"held": 0, "processed": 0, "failed": 0, "items": 0, "busy_s": 0.0, "working_s": working_s},
            },
            WorkerStats,
        )
    )


async def test_the_local_autoscaler_separates_busy_and_idle_time(admin: Client, tmp_path: Path) -> None:
    def sample(part: str) -> float:
        return REGISTRY.get_sample_value(f"tidegate_replica_{part}seconds_total", {"service": "cv"}) or 0.0

    pool = Replicas("cv", IDLE_WORKER, {}, tmp_path, grace_s=2.0)
    async with observing(admin, 200.0) as live_metrics:
        autoscaler = Autoscaler(live_metrics, SCALED, pool, speed=200.0)
        before = {part: sample(part) for part in ("", *(f"{p}_" for p in PARTS))}
        task = asyncio.create_task(autoscaler.run())
        try:
            await admin.jetstream().publish(names.media("lobby"), b"video")
            await until(lambda: pool.ready_count and autoscaler.state.warming_seconds > 0.2)
            assert autoscaler.state.busy_seconds == 0
            began = time.monotonic()
            async with asyncio.timeout(patience_s()):
                while autoscaler.state.busy_seconds < 0.3:  # half of the time it has something in flight
                    busy_s = (time.monotonic() - began) / 2
                    await admin.publish(names.stats("cv", pool.names[0]), worker(pool.names[0], busy_s))
                    await asyncio.sleep(0.25)
        finally:
            await end(task)
            await pool.close()
    state = autoscaler.state
    assert state.idle_seconds > 0
    parts = state.busy_seconds + state.idle_seconds + state.warming_seconds
    assert parts == pytest.approx(state.replica_seconds)
    grown = {part: sample(part) - value for part, value in before.items()}
    assert grown[""] == pytest.approx(state.replica_seconds)
    assert grown["busy_"] == pytest.approx(state.busy_seconds)
    assert grown["busy_"] + grown["idle_"] + grown["warming_"] == pytest.approx(grown[""])
    saving = REGISTRY.get_sample_value("tidegate_replica_saving_ratio", {"service": "cv"})
    assert saving is not None and 0 <= saving < 1


async def test_the_external_scaler_separates_them_by_heartbeats_alone(
    server: NatsServer, admin: Client, tmp_path: Path
) -> None:
    log, page = tmp_path / "scaler.log", ""

    def value(name: str) -> float:
        found = re.search(rf'^tidegate_replica_{name}{{service="cv"}} (\S+)$', page, re.MULTILINE)
        return float(found[1]) if found else 0.0

    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "services.scaler"],
            env=os.environ | server.environment("scaler") | ANY_PORTS | {"METRICS_PORT": "0"},
            stderr=output,
        )
    try:
        async with asyncio.timeout(patience_s()):
            while not (url := re.search(r"url=(\S+/metrics)", log.read_text())) or "ready" not in log.read_text():
                assert process.poll() is None, log.read_text()
                await asyncio.sleep(0.05)
        began = time.monotonic()
        cv = await bus.connect(server.settings("cv"), "cv")
        for n in range(12):
            # One works half of its time, one loads its model.
            await cv.publish(names.stats("cv", "cv-0"), worker("cv-0", 0.125 * n))
            await cv.publish(names.stats("cv", "cv-1"), worker("cv-1", 0.0, "loading"))
            await asyncio.sleep(0.25)
        await cv.close()
        async with asyncio.timeout(patience_s()):
            while value("seconds_total") <= 2.0 or not value("busy_seconds_total"):  # it adds up once a second
                await asyncio.sleep(0.1)
                page = await asyncio.to_thread(lambda: urllib.request.urlopen(url[1], timeout=5).read().decode())
        passed = time.monotonic() - began
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait, patience_s())

    used, busy, idle, warming = (value(f"{part}seconds_total") for part in ("", "busy_", "idle_", "warming_"))
    assert used == pytest.approx(busy + idle + warming)
    assert used <= 2 * passed
    assert warming == pytest.approx(used / 2, rel=0.1)
    assert 0 < busy <= 0.125 * 11
    assert 0 <= value("saving_ratio") < 1


def test_a_run_without_a_worker_is_described() -> None:
    assert Spent(seconds=5.0).describe().count("\n") == 0


def test_a_worker_that_dies_at_once_saves_nothing() -> None:
    cost = Cost(0.0)
    for second in range(1, 61):
        spent = cost.charge(float(second), replicas=1, living=0, warming=0, dead=1, used_s=0.05 * second, working_s=0.0)
    assert spent.down_s == 60 and spent.saving == 0
    assert "workers died" in spent.describe() and "saved" not in spent.describe()


def test_a_worker_that_starts_is_no_dead_one() -> None:
    cost = Cost(0.0)
    cost.charge(1.0, replicas=1, living=0, warming=0, used_s=0.0, working_s=0.0)
    spent = cost.charge(11.0, replicas=1, living=1, warming=0, used_s=10.0, working_s=5.0)
    assert spent.down_s == 0 and "saved: 9%" in spent.describe()
