"""Every test is in exactly one shard, and shards cost alike."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import shards
from tests.support.examples import examples
from tests.support.paths import ROOT

KEYS = st.dictionaries(
    st.text("abc", min_size=1, max_size=6), st.tuples(st.floats(0, 500), st.floats(0, 900)), max_size=40
)


@given(KEYS, st.integers(1, 9))
@settings(max_examples=examples(200))
def test_each_key_is_in_one_shard_and_shards_are_balanced_within_a_key(
    costs: dict[str, tuple[float, float]], n: int
) -> None:
    split = shards.split(costs, costs, n)
    assert split.keys() == costs.keys()
    assert set(split.values()) <= set(range(1, n + 1))
    size = {key: max(cpu_s / shards.CORES, wall_s / shards.PROCESSES) for key, (cpu_s, wall_s) in costs.items()}
    sums = [sum(size[key] for key in split if split[key] == k) for k in range(1, n + 1)]
    assert max(sums) <= sum(size.values()) / n + max(size.values(), default=0) + 1e-6


def test_unlisted_tests_are_in_a_shard() -> None:
    assert set(shards.split(["new", "newer"], {}, 2).values()) == {1, 2}


@pytest.mark.parametrize(
    ("name", "parsed"), [("3/8", ("", 3, 8)), ("alone-1/2", ("alone", 1, 2)), ("image-3/3", ("image", 3, 3))]
)
def test_a_valid_name_is_parsed(name: str, parsed: tuple[str, int, int]) -> None:
    assert shards.parse(name) == parsed


@pytest.mark.parametrize(
    ("name", "says"),
    [("", "give K/N"), ("9/8", "1 to 8"), ("0/8", "1 to 8"), ("slow-1/2", "no kind 'slow'"), ("1", "give K/N")],
)
def test_an_invalid_name_is_refused_with_the_remedy(name: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        shards.parse(name)


def test_the_costs_of_a_key_are_those_of_its_tests_each_counted_once() -> None:
    lines = [
        ("t1", "a.py", False, 1.0, 2.0),
        ("t2", "a.py", False, 3.0, 4.0),
        ("t3", "alone a.py", False, 9.0, 9.0),
        ("t1", "a.py", False, 1.5, 2.5),
        ("t1", "a.py", True, 0.1, 0.1),
    ]
    fields = ("test", "key", "quick", "cpu_s", "wall_s")
    written = [json.dumps(dict(zip(fields, line, strict=True))) for line in lines]
    assert shards.renew(written) == {"a.py": (4.5, 6.5), "alone a.py": (9.0, 9.0)}


def test_a_quick_test_that_was_slow_is_named() -> None:
    cpu_s, wall_s = shards.QUICK_S, shards.WAIT_S
    lines = [
        ("a", True, cpu_s + 0.1, cpu_s + 0.1),
        ("b", False, cpu_s + 0.1, wall_s + 0.1),
        ("c", True, 1.0, wall_s + 0.1),
        ("d", True, cpu_s - 0.1, wall_s - 0.1),
    ]
    written = (json.dumps({"test": t, "quick": quick, "cpu_s": cpu, "wall_s": wall}) for t, quick, cpu, wall in lines)
    assert [named.partition(":")[0] for named in shards.unmarked(written)] == ["a", "c"]


# A plugin for pytest which prints how often each test is in a shard that the nightly run has.
COUNT = """
from collections import Counter
from tests.support import shards

def pytest_collection_finish(session):
    times = Counter(item for name in shards.names() for item in shards.select(session.items, name))
    print("tests by the number of their shards:", dict(Counter(times[item] for item in session.items)))
"""


@pytest.mark.slow
def test_each_test_of_this_checkout_is_in_one_shard(tmp_path: Path) -> None:
    (tmp_path / "count.py").write_text(COUNT)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "count"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
    )
    [numbers] = re.findall(r"^tests by the number of their shards: \{1: (\d+)\}$", done.stdout, re.MULTILINE)
    assert int(numbers) > 5000


def test_an_unknown_shard_is_a_usage_error() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "--shard", "4/3", __file__],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "the first number must be 1 to 3" in done.stderr
