"""Logs of real processes stay within their limits, and the processes do not notice."""

from __future__ import annotations

import asyncio
import os
import sys
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import structlog

from shared.runtime.backoff import Backoff
from shared.runtime.errors import SettingError
from shared.runtime.tasks import end
from tests.support.waiting import until
from tidegate.local import logs
from tidegate.local.logs import LogSettings
from tidegate.local.scaling.replicas import Replicas
from tidegate.local.stack import Stack

MB = 1_000_000
# 100 MB in lines of 100 bytes, with pauses in which the log is limited.
TALKER = """
    import sys, time
    for _ in range(25):
        sys.stdout.write(("x" * 99 + "\\n") * 40_000)
        time.sleep(0.1)
    print("the last line", flush=True)
    time.sleep(1000)
"""
# It ends once its log is cut.
ENDING = """
    import os, sys, time
    print("x" * 600_000, flush=True)
    while os.fstat(1).st_size > 1000: time.sleep(0.02)
    print("there is no model", flush=True)
    sys.exit(2)
"""


@pytest.fixture
async def pool(tmp_path: Path) -> AsyncIterator[Replicas]:
    """A pool without workers, whose command a test sets."""
    replicas = Replicas("cv", [], {}, tmp_path, backoff=Backoff(first_s=0.02, longest_s=0.1, jitter=0.0), grace_s=5.0)
    yield replicas
    replicas.grace_s = 0.1
    await replicas.close()


@pytest.fixture
async def limits(tmp_path: Path) -> AsyncIterator[LogSettings]:
    settings = LogSettings(log_max_bytes=MB, log_files=3)
    task = asyncio.create_task(logs.limit(settings, tmp_path))
    yield settings
    assert not task.done()
    await end(task)


async def run(pool: Replicas, script: str) -> None:
    pool.command = [sys.executable, "-S", "-c", textwrap.dedent(script)]
    await pool.scale_to(1)


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def text(folder: Path) -> str:
    """The newest lines: the log's, and those of the file to which it may have been moved just now."""
    found = [folder / name for name in ("cv-0.log.1", "cv-0.log")]
    return "".join(path.read_text() for path in found if path.exists())


@pytest.mark.usefixtures("limits")
async def test_a_worker_that_logs_100_mb_leaves_the_limit(pool: Replicas, tmp_path: Path) -> None:
    await run(pool, TALKER)
    await until(lambda: "the last line" in text(tmp_path) and size(tmp_path) <= 3 * MB)
    assert {path.name for path in tmp_path.iterdir()} == {"cv-0.log", "cv-0.log.1", "cv-0.log.2"}
    assert (pool.restarts, pool.ready_count) == (0, 1)
    for path in tmp_path.iterdir():
        assert path.stat().st_size <= MB
        # A file's first line may be cut; its last one too, where the copy met a write half done.
        lines = path.read_text().splitlines()[1:-1]
        assert {len(line) for line in lines if line != "the last line"} <= {99}


@pytest.mark.usefixtures("limits")
async def test_the_error_of_a_worker_is_found_after_its_log_was_cut(pool: Replicas, tmp_path: Path) -> None:
    # It starts at an offset that its log has no more when it ends.
    (tmp_path / "cv-0.log").write_text("of an earlier run\n" * 30_000)
    with structlog.testing.capture_logs() as lines:
        await run(pool, ENDING)
        await until(lambda: [line for line in lines if line["log_level"] == "error"])
    first = next(line for line in lines if line["log_level"] == "error")
    assert first["last_lines"].endswith("there is no model")


async def test_a_full_disk_takes_the_older_lines_and_stops_nobody(pool: Replicas, tmp_path: Path) -> None:
    (tmp_path / "cv-0.log.1").symlink_to("/dev/full")
    task = asyncio.create_task(logs.limit(LogSettings(log_max_bytes=MB, log_files=2), tmp_path))
    with structlog.testing.capture_logs() as lines:
        await run(pool, TALKER.replace("range(25)", "range(3)"))
        # The last line may be among the lost ones.
        await until(lambda: [line for line in lines if line["log_level"] == "warning"] and size(tmp_path) <= 2 * MB)
    await end(task)
    assert [line["error"] for line in lines if line["log_level"] == "warning"] == ["[Errno 28] No space left on device"]
    assert pool.ready_count == 1


async def test_lines_that_come_during_the_copy_are_in_it(tmp_path: Path) -> None:
    """The log is beyond its limit, and the older file is a pipe: the copy lasts until the test reads it."""
    log, older = tmp_path / "cv-0.log", tmp_path / "cv-0.log.1"
    log.write_bytes(b"x" * 2 * MB)
    os.mkfifo(older)
    task = asyncio.create_task(logs.limit(LogSettings(log_max_bytes=MB, log_files=2), tmp_path))
    with await asyncio.to_thread(older.open, "rb") as copy:
        await asyncio.to_thread(copy.read, 1)
        with log.open("ab") as end_of_log:
            end_of_log.write(b"the last line")
        copied = 1 + len(text := await asyncio.to_thread(copy.read))
    await until(lambda: not log.stat().st_size)
    await end(task)
    assert text[-13:] == b"the last line"
    assert copied <= MB


async def test_without_a_limit_and_with_one_file(tmp_path: Path) -> None:
    log = tmp_path / "cv-0.log"
    log.write_bytes(b"x" * 2 * MB)
    await asyncio.wait_for(logs.limit(LogSettings(log_max_bytes=0), tmp_path), 60)
    assert log.stat().st_size == 2 * MB
    task = asyncio.create_task(logs.limit(LogSettings(log_max_bytes=MB, log_files=1), tmp_path))
    await until(lambda: not log.stat().st_size)
    await end(task)
    assert list(tmp_path.iterdir()) == [log]


def test_what_was_appended_is_in_the_file_or_in_the_older_one(tmp_path: Path) -> None:
    log, older = tmp_path / "nats.log", tmp_path / "nats.log.1"
    log.write_text("before, after")
    assert logs.since(log, 8) == "after"
    older.write_text("before, after")
    log.write_text(" it")
    assert logs.since(log, 8) == "after it"
    older.unlink()
    assert logs.since(log, 8) == " it"


async def test_a_stack_limits_what_it_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOG_MAX_BYTES", str(MB))
    found = [tmp_path / "nats.log", tmp_path / "logs/up.log", tmp_path / "logs/cv-7.log"]
    (tmp_path / "logs").mkdir()
    for log in found:
        log.write_bytes(b"x" * 3 * MB)
    async with Stack(tmp_path, {}, port=0) as stack:
        await until(lambda: all(log.stat().st_size < MB for log in found))
        assert "Server is ready" in logs.since(stack.server.log, 3 * MB) and stack.server.pid
    assert all(log.with_name(f"{log.name}.1").stat().st_size <= MB for log in found)


async def test_a_stack_refuses_an_unusable_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOG_FILES", "0")
    with pytest.raises(SettingError, match="LOG_FILES='0' can't be used: give a whole number from 1 up to 100"):
        await Stack(tmp_path, {}, port=0).__aenter__()
    monkeypatch.delenv("LOG_FILES")
    monkeypatch.setenv("LOG_MAX_BYTES", "10")
    with pytest.raises(SettingError, match="LOG_MAX_BYTES=10 can't be used: give at least 65536, or 0 for no limit"):
        await Stack(tmp_path, {}, port=0).__aenter__()
