"""The entries of the leases bucket: each process reads what another writes, and foreign values do no harm."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ingest.camera.stop import NOTHING, Stop
from shared.bus.leasing.entry import Entry, decode
from shared.bus.leasing.state import Lease, LeaseState, Loss

PROCESSES = st.text(string.ascii_letters + string.digits + "_-", min_size=1, max_size=40)
ENTRIES = st.builds(
    Entry,
    PROCESSES,
    st.integers(1, 60).map(float),
    st.booleans(),
    st.just("") | PROCESSES,
    st.none() | st.integers(0, 10**15 - 1),
    st.booleans(),
    st.lists(st.sampled_from(["most-2", "total-3"])).map(tuple),
    st.lists(st.integers(0, 10**15 - 1), max_size=2).map(tuple),
)


@given(ENTRIES)
def test_an_entry_round_trips(entry: Entry) -> None:
    assert decode(entry.encode()) == entry


@given(
    st.binary(max_size=80)
    | st.lists(st.sampled_from(["a", "after-", "since-", "also-", "also-x", "9" * 20, "nan", ""]))
    .map("/".join)
    .map(str.encode)
)
def test_a_foreign_value_decodes_within_bounds(value: bytes) -> None:
    found = decode(value)
    assert 0 <= found.lease_s <= 60
    assert found.since is None or 0 <= found.since < 10**15


@pytest.mark.parametrize(
    ("value", "waits"),
    [
        (b"a/5", False),
        (b"a/offered/5", False),
        (b"b/after-a/5", True),
        (b"b/offered/after-a/5", True),
        (b"b/after-a/since-1764250662104/5", False),
        (b"b/since-1764250662104/5", False),
        (b"", False),
    ],
)
def test_the_previous_holder_continues_until_the_new_one_has_started(value: bytes, waits: bool) -> None:
    assert decode(value).waits == waits


def test_the_previous_holder_stops_each_part_at_its_own_time() -> None:
    lease = Lease("a", 5.0, LeaseState.LEAVING, owned_at=995.0)
    entry = Entry("b", 5, after="a", since=1_000_000, also=(1_000_700, 9_000_000))
    lease.leave(entry, 0.0, 1001.0, is_silent=False)
    assert lease.loss == Loss(until=1000.0, also=(1000.7, None)), "a time in the future is of another clock"
    stop = Stop.after(lease.loss, leaving=True)
    assert [stop.stores_until(part) for part in range(3)] == [1000.0, 1000.7, None]
    assert Stop.after(Loss(until=1000.0), leaving=True).stores_until(1) == 1000.0, "from an earlier version"
    assert Stop.after(Loss(was_ours=False), leaving=True).stores_until(1) == NOTHING


@pytest.mark.parametrize(
    ("entry", "value"),
    [
        (Entry("a-1-ab", 5), b"a-1-ab/5"),
        (Entry("a-1-ab", 0.5), b"a-1-ab/0.5"),
        (Entry("a-1-ab", 5, offered=True), b"a-1-ab/offered/5"),
        (Entry("b-1-ab", 5, after="a-1-ab"), b"b-1-ab/after-a-1-ab/5"),
        (Entry("b-1-ab", 5, after="a-1-ab", since=1764250662104), b"b-1-ab/after-a-1-ab/since-1764250662104/5"),
        (Entry("b-1-ab", 5, offered=True, after="a-1-ab"), b"b-1-ab/offered/after-a-1-ab/5"),
        (Entry("b-1-ab", 5, True, "a-1-ab", 17, True), b"b-1-ab/offered/after-a-1-ab/since-17/again/5"),
        (Entry("a-1-ab", 5, again=True), b"a-1-ab/again/5"),
        (Entry("b-1-ab", 5, after="a-1-ab", since=17, also=(18,)), b"b-1-ab/after-a-1-ab/since-17/also-18/5"),
    ],
)
def test_the_bytes_of_an_entry_stay_the_same(entry: Entry, value: bytes) -> None:
    """Recorded: in a rolling upgrade other versions read what this one writes."""
    assert entry.encode() == value and decode(value) == entry
