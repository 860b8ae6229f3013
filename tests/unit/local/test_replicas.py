"""The pool of processes, with real ones."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import structlog

from shared.runtime.backoff import Backoff
from shared.runtime.problems import LONGEST
from tests.support.waiting import until
from tidegate.local.scaling.replicas import Replicas

# It prints its name, drains briefly on SIGTERM, and exits.
GOOD = """
    import os, signal, sys, time
    def drain(*_):
        print("drained", flush=True); sys.exit(0)
    signal.signal(signal.SIGTERM, drain)
    print(os.environ["REPLICA"], os.environ["METRICS_PORT"], os.environ["COLOUR"], flush=True)
    while True: time.sleep(60)
"""
STUBBORN = """
    import signal, time
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("up", flush=True)
    while True: time.sleep(60)
"""
MISCONFIGURED = 'import sys; print("CV_BATCH_SIZE=x is no number"); sys.exit(2)'


Make = Callable[..., Replicas]


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Make]:
    pools: list[Replicas] = []

    def pool(script: str, **options: Any) -> Replicas:
        command = [sys.executable, "-S", "-c", textwrap.dedent(script)]
        settings = {"backoff": Backoff(first_s=0.02, longest_s=0.1, jitter=0.0), "grace_s": 5.0, **options}
        pools.append(Replicas("cv", command, {"COLOUR": "blue"}, tmp_path, **settings))
        return pools[-1]

    yield pool
    for p in pools:
        p.grace_s = 0.1
        await p.close()


def text(path: Path) -> str:
    return path.read_text() if path.exists() else ""


async def test_starts_named_workers_and_drains_the_newest(make: Make, tmp_path: Path) -> None:
    pool = make(GOOD)
    await pool.scale_to(3)
    assert (pool.count, pool.names) == (3, ["cv-0", "cv-1", "cv-2"])
    await until(lambda: all(f"{n} 0 blue" in text(tmp_path / f"{n}.log") for n in pool.names))
    assert pool.ready_count == 3
    await pool.scale_to(1)
    assert pool.names == ["cv-0"] and pool.draining_count == 2
    await until(lambda: pool.draining_count == 0)
    assert "drained" in text(tmp_path / "cv-2.log") and "drained" not in text(tmp_path / "cv-0.log")
    await pool.close()
    assert (pool.count, pool.ready_count, pool.restarts) == (0, 0, 0)
    assert "drained" in text(tmp_path / "cv-0.log")


async def test_draining_does_not_delay_scaling_up_and_keeps_its_name(make: Make, tmp_path: Path) -> None:
    pool = make(STUBBORN, grace_s=5.0)
    await pool.scale_to(2)
    await until(lambda: "up" in text(tmp_path / "cv-0.log") and "up" in text(tmp_path / "cv-1.log"))
    await pool.scale_to(0)
    await pool.scale_to(2)
    assert pool.names == ["cv-2", "cv-3"] and pool.draining_count == 2
    await until(lambda: "up" in text(tmp_path / "cv-2.log"))
    assert pool.draining_count == 2
    await until(lambda: pool.draining_count == 0)  # killed after the grace period
    await pool.scale_to(3)
    assert pool.names == ["cv-2", "cv-3", "cv-0"]


async def test_restarts_crashed_workers(make: Make, tmp_path: Path) -> None:
    pool = make(GOOD)
    await pool.scale_to(1)
    log = tmp_path / "cv-0.log"
    await until(lambda: "cv-0" in text(log))
    [victim] = [p for p in psutil.Process().children() if p.environ().get("REPLICA") == "cv-0"]
    victim.kill()
    await until(lambda: text(log).count("cv-0") == 2)
    assert (pool.count, pool.restarts) == (1, 1)


async def test_reports_the_error_of_a_misconfigured_worker(make: Make) -> None:
    pool = make(MISCONFIGURED)
    with structlog.testing.capture_logs() as logs:
        await pool.scale_to(1)
        await until(lambda: pool.restarts >= 2)
    first = next(line for line in logs if line["log_level"] == "error")
    assert first["code"] == 2 and first["last_lines"] == "CV_BATCH_SIZE=x is no number"
    assert pool.count == 1


@pytest.mark.parametrize(
    "script, found",
    [
        (MISCONFIGURED, "CV_BATCH_SIZE=x is no number"),
        (
            "import sys; print('x y ' * 250_000, file=sys.stderr); raise ValueError('no such layer')",
            "no such layer",
        ),
        ("import os; os.kill(os.getpid(), 9)", "it was killed by SIGKILL"),
        (
            "raise OSError('rtsp://me:pa55word@camera/1 refuses us, and blue-is-secret')",
            "rtsp://***@camera/1 refuses us",
        ),
    ],
)
async def test_a_crash_loop_is_one_problem_with_the_last_error(make: Make, script: str, found: str) -> None:
    pool = make(script)
    pool.env["COLOUR_KEY"] = "blue-is-secret"
    await pool.scale_to(1)
    await until(lambda: bool(pool.problems))
    [first] = pool.problems
    assert (first.service, first.replica, first.kind) == ("cv", "cv-0", "died")
    assert found in first.sentence and len(first.sentence) <= LONGEST
    assert "secret" not in first.sentence and "pa55word" not in first.sentence
    before = pool.restarts
    await until(lambda: pool.restarts >= before + 2)
    assert pool.problems == [first]
    await pool.scale_to(0)
    assert pool.problems == []


async def test_a_death_is_forgotten_after_a_healthy_while(make: Make, tmp_path: Path) -> None:
    pool = make(GOOD, healthy_s=0.5)
    await pool.scale_to(1)
    await until(lambda: "cv-0" in text(tmp_path / "cv-0.log"))
    os.kill(pool.pids[0], signal.SIGKILL)
    await until(lambda: bool(pool.problems))
    await until(lambda: not pool.problems)
    assert pool.ready_count == 1


async def test_backs_off_and_forgets_after_a_healthy_while(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    delays: list[float] = []
    after = Backoff.after

    def noted(backoff: Backoff, crashes: int) -> float:
        delay = after(backoff, crashes)
        # A thread of another test may still run a pool of its own.
        if backoff is pool.backoff:
            delays.append(delay)
        return delay

    monkeypatch.setattr(Backoff, "after", noted)
    pool = make("", healthy_s=1e9)
    await pool.scale_to(1)
    await until(lambda: len(delays) >= 5)
    assert delays[:5] == [0.02, 0.04, 0.08, 0.1, 0.1]
    pool.healthy_s = 0.0
    n = len(delays)
    await until(lambda: len(delays) >= n + 3)
    assert delays[-1] == 0.02


async def test_a_missing_command_is_retried(tmp_path: Path) -> None:
    pool = Replicas("cv", [str(tmp_path / "none")], {}, tmp_path, backoff=Backoff(first_s=0.01, longest_s=0.01))
    with structlog.testing.capture_logs() as logs:
        await pool.scale_to(1)
        await until(lambda: pool.restarts >= 2)
    await pool.close()
    assert logs[0]["event"] == "worker can't be started" and pool.ready_count == 0


async def test_counts_replica_seconds(make: Make) -> None:
    pool = make(GOOD)
    await pool.scale_to(2)
    await until(lambda: pool.ready_count == 2)
    before = pool.replica_seconds
    await until(lambda: pool.replica_seconds - before >= 0.4)
    await pool.close()
    after = pool.replica_seconds
    assert pool.replica_seconds == after > before, "each reading of the clock differs"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of its parent's death")
async def test_a_killed_parent_leaves_no_orphan(tmp_path: Path) -> None:
    script = f"""
        import asyncio, sys
        from pathlib import Path
        from tidegate.local.scaling.replicas import Replicas
        async def main():
            command = [sys.executable, "-c", {textwrap.dedent(GOOD)!r}]
            pool = Replicas("cv", command, {{"COLOUR": ""}}, Path(sys.argv[1]))
            await pool.scale_to(2)
            await asyncio.sleep(60)
        asyncio.run(main())
    """
    parent = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script), str(tmp_path)])
    try:
        await until(lambda: all("cv-" in text(tmp_path / f"cv-{i}.log") for i in range(2)))
        children = psutil.Process(parent.pid).children()
        assert len(children) == 2
    finally:
        os.kill(parent.pid, signal.SIGKILL)
        parent.wait()
    await until(lambda: not any(c.is_running() and c.status() != psutil.STATUS_ZOMBIE for c in children))
    assert all("drained" in text(tmp_path / f"cv-{i}.log") for i in range(2))
