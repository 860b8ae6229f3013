"""The simulator computes what real workers and the local autoscaler did: runs that `bench.bench_surge` recorded."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean

import msgspec
import pytest

from bench.bench_reality import SEEDS
from bench.bench_surge import RecordedRun, simulate

FILES = sorted((Path(__file__).parent / "recorded").glob("*.json"))
RUNS = [(file.stem, run) for file in FILES for run in msgspec.json.decode(file.read_bytes(), type=list[RecordedRun])]
# Of an HPA's decision, in seconds.
CLOSE_S = 1.0


@pytest.mark.parametrize("real", [run for _, run in RUNS], ids=[f"{name}-{run.elastic}" for name, run in RUNS])
def test_a_recorded_run_is_simulated_within_two_percent(real: RecordedRun) -> None:
    simulated = [simulate(real, seed) for seed in range(SEEDS)]
    cost = fmean(result.replica_hours for result in simulated) * 3600
    assert cost == pytest.approx(real.replica_seconds, rel=0.02)
    timeline = simulated[0].timeline
    assert [n for _, n in timeline] == [n for _, n in real.timeline]
    assert all(abs(a - b) < CLOSE_S for (a, _), (b, _) in zip(timeline, real.timeline, strict=True))
