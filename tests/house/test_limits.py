"""The limits of a test: they find a hang, and no load of the machine reaches them."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.paths import ROOT
from tests.support.waiting import patience_s

SPIN = [sys.executable, "-c", "while True: pass"]
TESTS = """
import asyncio, signal, subprocess, sys, threading, time
import pytest

def work(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass

def test_sleeps():
    threading.Event().wait()

async def test_awaits():
    await asyncio.Event().wait()

def test_spins():
    while True:
        pass

@pytest.mark.timeout(0.8)
def test_polls():
    while True:
        work(0.003)
        time.sleep(0.1)

def test_spins_in_a_child():
    subprocess.run([sys.executable, "-c", "while True: pass"])

def test_spins_in_short_children():
    while True:
        subprocess.run([sys.executable, "-c", "import time\\nwhile time.process_time() < 0.3: pass"])

def test_is_slow():
    for _ in range(60):
        work(0.01)
        time.sleep(0.1)

@pytest.fixture
def hangs_at_its_end():
    yield
    threading.Event().wait()

def test_fails_and_then_hangs(hangs_at_its_end):
    assert False, "on purpose"

def test_is_deaf():
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])
    threading.Event().wait()
"""


@pytest.fixture
def busy() -> Iterator[None]:
    """A busy process for each core, outside the tree of the tests."""
    with ExitStack() as running:
        for _ in range(os.cpu_count() or 1):
            spinning = running.enter_context(subprocess.Popen(SPIN))
            running.callback(spinning.kill)
        yield


def outcome(folder: Path, *options: str) -> str:
    """Run the tests under limits of 3 s of CPU and 5 s without work, and return what pytest prints."""
    (folder / "test_these.py").write_text(TESTS)
    (folder / "pytest.ini").write_text("[pytest]\nasyncio_mode = auto\ntimeout = 3\nidle_timeout = 5\n")
    command = [sys.executable, "-m", "pytest", "-rA", "-p", "tests.support.limits", "-p", "no:cacheprovider", *options]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    environment |= {"PYTHONPATH": str(ROOT), "COLUMNS": "200"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=patience_s())
    return done.stdout + done.stderr


@pytest.mark.slow
def test_a_hang_fails_by_name_and_slow_work_on_a_busy_machine_passes(tmp_path: Path, busy: None) -> None:
    found = outcome(tmp_path, "-k", "not deaf")
    for name in ("sleeps", "awaits"):
        assert f"FAILED test_these.py::test_{name} - Failed: the test used next to no CPU for 5 s" in found
    for name in ("spins", "spins_in_a_child", "spins_in_short_children"):
        assert f"FAILED test_these.py::test_{name} - Failed: the test used more than 3 s of CPU" in found
    assert re.search(r"FAILED test_these.py::test_polls - Failed: the test took \d+ s and used 0 s of CPU", found)
    assert "PASSED test_these.py::test_is_slow" in found
    assert "FAILED test_these.py::test_fails_and_then_hangs - AssertionError: on purpose" in found
    assert "ERROR test_these.py::test_fails_and_then_hangs - Failed: the test used next to no CPU" in found
    assert "Stack of MainThread" in found and "await asyncio.Event().wait()" in found


@pytest.mark.slow
def test_xdist_names_a_test_that_ignores_the_signal(tmp_path: Path) -> None:
    found = outcome(tmp_path, "-n1", "-k", "deaf or slow")
    assert "PASSED test_these.py::test_is_slow" in found
    assert "worker 'gw0' crashed while running 'test_these.py::test_is_deaf'" in found
