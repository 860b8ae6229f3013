"""Real workers under a short load and the simulator under the same: nothing lost, and the same most replicas.

`bench.bench_reality` measures how near their replica-seconds are, on an idle machine and in minutes.
"""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from bench import bench_reality
from bench.bench_reality import Pace, Rate
from tests.support.waiting import patience_s

RATE = Rate(segments=32.0, seconds=10.0)
SCRIPT = ((2.0, 0.0), (12.0, 1.8))


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.xdist_group("waiting")
@pytest.mark.parametrize("form", ["lag", "demand"])
async def test_the_simulator_runs_the_real_number_of_workers(form: str) -> None:
    scaled = bench_reality.fitted(form, RATE.per_s, cold_start_s=2.0)
    scaled = msgspec.structs.replace(scaled, spec=msgspec.structs.replace(scaled.spec, cooldown_period=5))
    async with asyncio.timeout(patience_s()):
        real = await bench_reality.measure(scaled, RATE, Pace(bench_reality.PACE_S), SCRIPT)
    simulated = bench_reality.simulate(form, scaled, real, seed=0)
    count = len(real.arrivals)
    assert (real.tally.segments, real.tally.processed) == (count, count)
    assert (real.tally.lost, real.tally.duplicated, simulated.lost) == (0, 0, 0)
    assert max(n for _, n in real.timeline) == simulated.peak_replicas == 2
    assert real.timeline[-1][1] == simulated.timeline[-1][1] == 0
    assert 0 < real.busy_seconds <= real.replica_seconds
