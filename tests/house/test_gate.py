"""The decisions of the gate: what is a flake, what stays red, and how it names a stage that hangs or did not run."""

from __future__ import annotations

import datetime as dt
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT
from tools.gate import core, flakes
from tools.gate.flakes import Failure, Flaky

DAY = dt.date(2026, 3, 1)


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    """A folder with tests of its own: each has a name that says when it fails."""
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests/flaky.toml").write_text("")
    (tmp_path / "tests/test_it.py").write_text(
        """
import pathlib
import pytest

def first_time(name):
    marker = pathlib.Path(name)
    seen = marker.exists()
    marker.touch()
    return not seen

def test_good():
    pass

def test_once():
    if first_time("once"):
        raise TimeoutError("nobody came")

@pytest.mark.parametrize("text", ["a@b", "c"])
def test_once_by_assertion(text):
    assert not first_time(text)

def test_left_out():
    pytest.skip("no camera here")

def test_always():
    raise TimeoutError("nobody ever comes")

@pytest.mark.parametrize("n", range(6))
def test_many(n):
    raise TimeoutError
"""
    )
    return tmp_path


def gate(suite: Path, *tests: str, strict: bool = False) -> subprocess.CompletedProcess[str]:
    """Run these tests of the suite as the gate does."""
    flags = ["--strict"] if strict else []
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--junitxml={}", *tests]
    return subprocess.run(
        [sys.executable, "-m", "tools.gate.flakes", *flags, "--", *command],
        capture_output=True,
        text=True,
        cwd=suite,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )


@pytest.mark.slow
def test_a_test_that_fails_once_is_reported_and_not_red(suite: Path) -> None:
    done = gate(suite, "tests/test_it.py::test_good", "tests/test_it.py::test_once")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(
        r"^FLAKE tests/test_it.py::test_once at a load of [\d.]+: TimeoutError: nobody came$", done.stdout, re.M
    )
    assert "write it into tests/flaky.toml" in done.stdout
    assert done.stdout.count("again, ") == flakes.RERUNS


def test_a_test_that_fails_again_is_red(suite: Path) -> None:
    done = gate(suite, "tests/test_it.py::test_always")
    assert done.returncode == 1
    assert "FLAKE" not in done.stdout
    assert done.stdout.count("again, ") == 1


def test_many_failures_are_no_flakes(suite: Path) -> None:
    done = gate(suite, "tests/test_it.py::test_many")
    assert done.returncode == 1
    assert "6 tests failed: none is run again" in done.stdout


def test_a_failed_assertion_of_the_core_stays_red(suite: Path) -> None:
    done = gate(suite, "tests/test_it.py::test_once_by_assertion", strict=True)
    assert done.returncode == 1
    assert "tests/test_it.py::test_once_by_assertion[a@b]\n" in done.stdout
    assert "again, " not in done.stdout


def test_a_skipped_test_of_the_core_is_red(suite: Path) -> None:
    done = gate(suite, "tests/test_it.py::test_good", "tests/test_it.py::test_left_out", strict=True)
    assert done.returncode == 1
    assert "no camera here" in done.stdout
    assert gate(suite, "tests/test_it.py::test_left_out").returncode == 0


def test_a_failure_outside_of_tests_is_red(suite: Path) -> None:
    assert gate(suite, "tests/no_such_file.py").returncode == pytest.ExitCode.USAGE_ERROR


def test_a_failed_assertion_stays_red_if_the_change_affects_its_test() -> None:
    asserted = Failure("tests/test_a.py::test_x", "AssertionError: assert 1 == 2")
    rewritten = Failure("tests/test_b.py::test_y[1]", "assert 1 == 2")
    late = Failure("tests/test_a.py::test_z", "TimeoutError: not so after 120 s")
    failed = [asserted, rewritten, late]
    assert flakes.stays_red(failed, strict=True, files=list) == [asserted, rewritten]
    assert flakes.stays_red(failed, strict=False, files=lambda: ["tests/test_a.py"]) == [asserted]
    assert flakes.stays_red(failed, strict=False, files=list) == []
    assert flakes.stays_red(failed, strict=False, files=lambda: None) == [asserted, rewritten]


def test_at_most_five_flakes_are_listed_for_two_weeks() -> None:
    def aged(*days: int) -> list[Flaky]:
        return [Flaky(f"tests/test_{n}.py::test_x", DAY - dt.timedelta(day), "") for n, day in enumerate(days)]

    assert flakes.violations(aged(0, 3, 14, 1, 2), DAY) == []
    assert ["2026-02-14" in sentence for sentence in flakes.violations(aged(15), DAY)] == [True]
    assert "6 tests" in flakes.violations(aged(0, 0, 0, 0, 0, 0), DAY)[0]


def test_the_list_of_flakes_can_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert len(flakes.read_entries()) <= flakes.MAX_FLAKY


def test_each_risk_has_one_existing_test() -> None:
    tests = core.tests((ROOT / core.PAGE).read_text())
    assert len(tests) == len(set(tests))
    for test in tests:
        file, _, name = test.partition("::")
        function = name.partition("[")[0]
        assert re.search(rf"^(async )?def {function}\(", (ROOT / file).read_text(), re.M), f"{test} is not there"


def test_a_page_without_the_table_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="no table"):
        core.tests("# Contributing\n")


STAGES = """
TOTAL_S=4
. .ci/stages
stage 'passes' 5 sh -c 'echo "3 passed, 1 skipped in 0.10s"'
stage 'fails' 5 sh -c 'echo "FAILED tests/test_x.py::test_y - broken"; echo "1 failed, 2 passed in 1.00s"; exit 1'
stage 'hangs' 1 sleep 60
stage 'gets the rest' 60 sleep 60
stage 'comes too late' 60 true
"""


def test_a_stage_that_fails_hangs_or_does_not_run_is_red_by_name(tmp_path: Path) -> None:
    shutil.copytree(ROOT / ".ci", tmp_path / ".ci")
    (tmp_path / ".ci/three").write_text(STAGES.replace(". .ci/", '. "$(dirname "$0")"/'))
    done = subprocess.run(["bash", tmp_path / ".ci/three"], capture_output=True, text=True)
    table = done.stdout.partition("stage  ")[2]
    assert done.returncode == 1
    for name, result in {
        "passes": "ok",
        "fails": "FAILED",
        "hangs": "FAILED: stopped after 1 s",
        "gets the rest": r"FAILED: stopped after \d s",
        "comes too late": "FAILED: did not run, no time was left",
    }.items():
        assert re.search(rf"^{name} +\d+ s  {result}$", table, re.M), table
    assert "FAILED tests/test_x.py::test_y - broken" in table
    assert "5 passed, 1 failed, 1 skipped" in table


def test_an_interrupted_gate_is_red_by_its_running_stage(tmp_path: Path) -> None:
    shutil.copytree(ROOT / ".ci", tmp_path / ".ci")
    stages = 'TOTAL_S=60\n. "$(dirname "$0")"/stages\nstage "works" 60 sh -c "echo at work; sleep 60"\n'
    (tmp_path / ".ci/one").write_text(stages)
    with subprocess.Popen(["bash", tmp_path / ".ci/one"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        while process.stdout.readline() != "at work\n":
            pass
        process.terminate()
        printed = process.stdout.read()
    assert process.returncode == 1
    assert re.search(r"^works +\d+ s  FAILED: interrupted$", printed, re.M), printed


def test_each_test_for_the_oldest_python_is_there() -> None:
    makefile = (ROOT / "Makefile").read_text()
    names = makefile.partition("\nVERSIONS :=")[2].partition("\nversions:")[0].replace("\\", "").split()
    assert len(names) > 10
    assert [name for name in names if not [*(ROOT / "tests").rglob(f"test_{name}.py")]] == []
