"""What is wrong with the processes of a stack is found in its file, by `tidegate doctor` and by `tidegate ask`."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import stat
from pathlib import Path

import pytest
from rich.console import Console

from shared.runtime.errors import TidegateError
from shared.runtime.pages import monitoring
from shared.runtime.problems import Problem
from shared.runtime.settings import BusSettings
from shared.runtime.telemetry import Health
from tests.support.paths import ROOT
from tests.support.waiting import until
from tidegate.commands import doctor
from tidegate.commands.ask import query, run
from tidegate.keda.scaledobject import load
from tidegate.local import problem_monitor, problems
from tidegate.local.problem_monitor import NO_PAGE, ProblemMonitor
from tidegate.local.scaling.replicas import Replicas
from tidegate.local.stack import Stack
from tidegate.local.stack import steady as stack_of
from tidegate.view.terminal import problem_lines

SCALED = {"vlm": load(ROOT / "deploy/keda/demand/vlm.yaml")}
NOWHERE = {"vlm": {"VLM_URL": "http://127.0.0.1:9/v1", "VLM_KEY": "sk-no-secret"}}
ASKED = {"camera": "lobby", "since": None, "until": None, "wait": 8}


def found(data: Path, replica: str) -> Problem | None:
    return next((p for p in problems.read(data) if p.replica == replica), None)


async def test_a_dead_process_is_reported_with_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NATS_URL", raising=False)
    async with Stack(tmp_path, {}, port=0) as stack:
        await until(lambda: bool(stack.pools["ingest"].pids))
        os.kill(stack.pools["ingest"].pids[0], signal.SIGKILL)
        await until(lambda: found(tmp_path, "ingest-0") is not None)
        problem = found(tmp_path, "ingest-0")
        assert problem and problem.kind == "died" and "SIGKILL" in problem.sentence
        assert stat.S_IMODE((tmp_path / "problems.json").stat().st_mode) == 0o600
        [finding] = [f for f in await doctor.streams(tmp_path) if f.what == "ingest-0"]
        assert finding.level == "bad" and "SIGKILL" in finding.found and "ingest-0.log" in finding.remedy
        assert "ingest-0 died: it was killed by SIGKILL" in " ".join(map(str, problem_lines([problem], 80)))
    assert problems.read(tmp_path) == [] and not (tmp_path / "problems.json").exists()


@pytest.mark.slow
async def test_an_unreachable_endpoint_is_reported_before_and_during_a_question(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NATS_URL", raising=False)
    async with Stack(tmp_path, SCALED, steady=stack_of("--vlm"), env=NOWHERE, port=0) as stack:
        await until(lambda: found(tmp_path, "VLM_URL") is not None)
        front = stack.targets / "vlm-front-0.json"
        await until(lambda: front.exists())
        with pytest.raises(TidegateError, match=r"no answer within 8 s: .*http://127.0.0.1:9/v1 can't be reached"):
            await ask_until_served(stack, tmp_path)
        await until(lambda: found(tmp_path, "vlm-0") is not None)
        problem = found(tmp_path, "vlm-0")
        assert problem and problem.kind == "not ready" and "can't be reached" in problem.sentence
    assert "sk-no-secret" not in (tmp_path / "logs" / "vlm-0.log").read_text()


async def ask_until_served(stack: Stack, data: Path) -> None:
    """Ask, as soon as the front takes questions."""
    while True:
        try:
            request = query("ask", ASKED, question="what?")
            await run(stack.admin, request, Console(file=io.StringIO()), as_json=False, save=None, data=data)
        except TidegateError as e:
            if "nobody answers" not in str(e):
                raise
        await asyncio.sleep(0.2)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


async def test_a_process_that_never_gets_ready_is_a_problem_after_a_usual_start(tmp_path: Path) -> None:
    clock, health = Clock(), Health()
    settings = BusSettings(metrics_targets=str(tmp_path / "metrics"))
    monitoring.tell_prometheus(settings, "cv", monitoring.serve(settings, health))
    monitor = ProblemMonitor(tmp_path, tmp_path / "metrics", {}, dict, clock)
    health.ready = "loading the model"
    await monitor.look()
    assert monitor.problems == []
    clock.now = problem_monitor.START_S + 1
    await monitor.look()
    [first] = monitor.problems
    assert (first.replica, first.kind, first.sentence) == ("cv", "not ready", "loading the model")
    health.ready = "rtsp://me:pa55@camera refuses us\x1b[2J"
    await monitor.look()
    [second] = monitor.problems
    assert second.sentence == "rtsp://***@camera refuses us [2J" and second.since == first.since
    health.ready = None
    await monitor.look()
    assert monitor.problems == []


async def test_a_process_that_hangs_before_it_serves_its_page_is_a_problem(tmp_path: Path) -> None:
    clock = Clock()
    pool = Replicas("cv", ["sleep", "600"], {}, tmp_path, targets=tmp_path / "metrics", grace_s=5.0)
    try:
        await pool.scale_to(1)
        await until(lambda: bool(pool.pids))
        monitor = ProblemMonitor(tmp_path, tmp_path / "metrics", {"cv": pool}, dict, clock)
        for clock.now in (0.0, problem_monitor.START_S + 1):
            await monitor.look()
        assert [(p.replica, p.sentence) for p in monitor.problems] == [("cv-0", NO_PAGE)]
    finally:
        await pool.close()
