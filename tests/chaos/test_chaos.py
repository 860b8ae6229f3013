"""Short forms of `tidegate chaos`, with the real models."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from pathlib import Path
from typing import Literal

import pytest
from rich.console import Console

from tests.support.waiting import patience_s
from tidegate.chaos import trial
from tidegate.chaos.kills import Plan, run_plan
from tidegate.chaos.world import Size


@pytest.mark.slow
@pytest.mark.parametrize("service", ["cv", pytest.param("embed", marks=pytest.mark.long)])
async def test_each_segment_has_exactly_one_event_after_kills_and_a_restart(
    service: Literal["cv", "embed"], tmp_path: Path
) -> None:
    plan = Plan(service=service, kills=3, terms=2, restarts=1, workers=2, pause_s=1.5)
    outcome = await run_plan(plan, tmp_path, Console())
    assert outcome.is_exact, outcome
    assert (outcome.kills, outcome.terms, outcome.restarts) == (3, 2, 1)
    assert outcome.redelivered > 0, "no fault hit a worker that held a segment"


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.xdist_group("waiting")
async def test_a_stopped_run_leaves_nothing_behind(tmp_path: Path) -> None:
    """Its server's disk stayed mounted, in a folder that could not be removed then."""
    command = [sys.executable, "-m", "tidegate", "chaos", "--each", "--only", "server is killed"]
    process = await asyncio.create_subprocess_exec(
        *command, env=os.environ | {"TMPDIR": str(tmp_path)}, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout
    async with asyncio.timeout(patience_s()):
        while b"killed" not in await process.stdout.readline():
            pass
        process.terminate()
        output = (await process.stdout.read()).decode()
        assert await process.wait() == 130
    assert "kept in" in output and str(tmp_path) in output
    assert str(tmp_path) not in Path("/proc/mounts").read_text()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            assert str(tmp_path) not in path.read_bytes().decode(errors="replace")


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.xdist_group("waiting")
@pytest.mark.parametrize(
    ("servers", "faults"),
    [
        (1, ("away for 7 s", "a worker is frozen", "half open", "an analytics is killed")),
        (3, ("is killed, and away for 1 s", "one loses its store")),
        pytest.param(1, ("an ingest is killed", "an ingest is told to stop"), marks=pytest.mark.long),
        pytest.param(3, ("the leader hangs for 12 s", "the disk of one is full"), marks=pytest.mark.long),
    ],
)
async def test_a_fault_costs_no_segment(servers: Literal[1, 3], faults: tuple[str, ...], tmp_path: Path) -> None:
    size = Size(servers=servers, ingests=2, cameras=2)
    outcome = await trial.trial(trial.Plan(size=size, only=faults, well_s=patience_s()), tmp_path, Console())
    if outcome.skipped_faults:
        pytest.skip("; ".join(outcome.skipped_faults.values()))
    assert len(outcome.costs) == len(faults)
    assert all(cost.well_s is not None for cost in outcome.costs), outcome.costs
    assert outcome.finished and outcome.segments and outcome.acknowledged
    counted = (outcome.lost, outcome.without, outcome.twice, outcome.skipped, outcome.repeated, outcome.doubled_s)
    assert counted == (0, 0, 0, 0, 0, 0) and (outcome.unrevised, outcome.revised_twice) == (0, 0)
    assert outcome.faults == []
    assert outcome.incidents and (outcome.unalerted, outcome.alerted_twice) == (0, 0)
