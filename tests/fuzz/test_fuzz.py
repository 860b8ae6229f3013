"""Faults found by hostile input stay fixed, and the fuzzer finds known faults."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz import __main__ as fuzz
from tests.fuzz.child import find, input_of, try_one
from tests.fuzz.door import CORPUS, MB

# The number of inputs in the test of a door: the tool itself takes more.
FEW = 40
MOST_CORPUS = MB


@pytest.mark.parametrize("name", fuzz.names())
def test_a_door_accepts_or_refuses_any_input(name: str) -> None:
    """First what was once a finding, then good input, then some that is made of both."""
    door = find(name)
    good, remaining = list(door.seeds()), door.corpus()
    count = len(good) + len(remaining) + (FEW if door.share >= 0.1 else 4)
    outcomes = [try_one(door, input_of(door, 0, n, good, remaining)) for n in range(count)]
    assert not [one.problem for one in outcomes if one.problem]
    assert outcomes[len(remaining)].taken, "good input is refused: what is made of it tests nothing"


def test_the_corpus_is_small_and_names_existing_doors() -> None:
    files = [path for path in CORPUS.rglob("*") if path.is_file()]
    assert files and {path.parent.name for path in files} <= set(fuzz.names())
    assert sum(path.stat().st_size for path in files) < MOST_CORPUS


def test_an_input_is_the_same_in_every_process() -> None:
    door = find("search.find")
    good = list(door.seeds())
    once = [input_of(door, 7, n, good, []) for n in range(50)]
    assert once == [input_of(door, 7, n, good, []) for n in range(50)]
    assert once != [input_of(door, 8, n, good, []) for n in range(50)]
    assert len(set(once)) > 40


# ---- the tool, at doors that are broken


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "faults"),
    [
        ("sound", []),
        ("refusing", []),
        ("failing", ["KeyError"]),
        ("crashing", ["crash by SIGSEGV"]),
        ("exiting", ["ended with 0"]),
        ("slow", ["stall"]),
        ("slow-once", []),
        ("large", ["memory"]),
    ],
)
def test_a_fault_is_found_and_its_input_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, faults: list[str]
) -> None:
    monkeypatch.setattr(fuzz, "FINDINGS", tmp_path)
    tried = fuzz.try_door(f"_broken.{what}", 0, 20)
    assert tried.counts.tried == tried.counts.next == 20, "the rest is tried too"
    assert [one.fault.partition(" _broken")[0] for one in tried.findings] == faults
    assert all(one.path.is_relative_to(tmp_path) and one.path.read_bytes() == b"\x01" for one in tried.findings)
    failed = tried.counts.tried - tried.counts.taken - tried.counts.refused
    assert (failed > 0) == bool(faults)
