"""The division of a service's replicas among machines."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.local.scaling.division import MOST, Machine, divide, machine_of

MACHINES = st.dictionaries(st.text("abc-1", min_size=1, max_size=4), st.integers(0, 6), min_size=1, max_size=5)


@given(st.integers(0, 40), MACHINES)
def test_parts_add_up_to_the_total_or_to_all_that_the_machines_may_run(total: int, most: dict[str, int]) -> None:
    parts = divide(total, most)
    assert sum(parts.values()) == min(total, sum(most.values()))
    assert all(0 <= parts[name] <= most[name] for name in most)
    assert parts == divide(total, dict(reversed(most.items())))


@given(st.integers(0, 40), MACHINES)
def test_one_replica_more_changes_one_part(total: int, most: dict[str, int]) -> None:
    before, after = divide(total, most), divide(total + 1, most)
    assert all(after[name] - before[name] in (0, 1) for name in most)


@pytest.mark.parametrize(
    ("total", "parts"), [(0, (0, 0)), (1, (1, 0)), (2, (1, 1)), (3, (2, 1)), (4, (3, 1)), (6, (4, 2)), (9, (4, 2))]
)
def test_a_larger_machine_runs_more(total: int, parts: tuple[int, int]) -> None:
    assert tuple(divide(total, {"large": 4, "small": 2}).values()) == parts


@given(st.integers(0, MOST), st.integers(0, MOST))
def test_a_machine_round_trips(most: int, total: int) -> None:
    assert machine_of(Machine(most, total).facts()) == Machine(most, total)


@given(
    st.lists(st.text(max_size=20) | st.sampled_from(["most-", "most--1", "total-9e9", "most-" + "9" * 300, "most-²"]))
)
def test_foreign_facts_are_within_bounds(facts: list[str]) -> None:
    machine = machine_of(facts)
    assert 0 <= machine.most <= MOST
    assert 0 <= machine.total <= MOST
