"""The result that a benchmark stores, and the report on the next one."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from bench import record
from bench.__main__ import NAMES
from bench.record import Ratio
from shared.models import machine


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "FOLDER", tmp_path / "bench-output")
    monkeypatch.setattr(record, "BASELINE", tmp_path / "baseline.json")


def test_a_result_is_a_file_with_its_machine() -> None:
    record.write("bus", {"worker / bare": 0.98765}, {"memory": 1.5}, {"worker, segments/s": 13.0})
    (result,) = record.read()
    assert result.ratios == {"worker / bare": Ratio(0.9877), "memory": Ratio(1.5, "lower")}
    assert result.figures == {"worker, segments/s": 13.0}
    assert result.machine.cpu and result.machine.cores >= 1 and "numpy" in result.machine.packages
    assert set(result.machine.flags) <= set(machine.FLAGS)


def test_changes_are_reported_against_the_baseline_and_noise_is_not_judged() -> None:
    record.write("bus", {"quick": 1.0, "same": 1.0}, {"cost": 1.0})
    record.write("find", {"recall": 1.0})
    record.keep(record.read())
    record.write("bus", {"quick": 0.9, "same": 0.97, "other": 2.0}, {"cost": 0.8})
    was = record.baseline()
    now = [result for result in record.read() if result.name == "bus"]
    assert record.changes(was, now) == [
        ("bus", "quick", 1.0, 0.9, "worse"),
        ("bus", "same", 1.0, 0.97, ""),
        ("bus", "other", None, 2.0, "new"),
        ("bus", "cost", 1.0, 0.8, "better"),
    ]
    out = Console(width=100, record=True)
    out.print(record.table(was, now))
    assert "-10.0%" in out.export_text()


def test_a_baseline_has_only_ratios_and_keeps_those_of_skipped_benchmarks() -> None:
    record.write("find", {"recall": 1.0}, figures={"ms": 20.0})
    record.keep(record.read())
    record.write("bus", {"worker / bare": 0.98})
    record.keep([r for r in record.read() if r.name == "bus"])
    assert [(r.name, r.figures) for r in record.baseline()] == [("bus", {}), ("find", {})]


def test_the_baseline_names_only_existing_benchmarks() -> None:
    path = Path(record.__file__).with_name("baseline.json")
    remaining = msgspec.json.decode(path.read_bytes(), type=list[record.Result])
    assert {result.name for result in remaining} <= set(NAMES)
    assert all(result.ratios and not result.figures for result in remaining)
