"""Rates, ages and counts of messages."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.console.now.bus_monitor import EVERY_S, StreamTimestamps
from services.console.now.queues import Progress, oldest
from services.console.now.rates import Flow
from shared.bus.infos import ConsumerConfig, ConsumerInfo, Place, StreamConfig, StreamHolds, StreamInfo


@given(st.floats(0.05, 2.0), st.floats(0.1, 1e6), st.integers(20, 200))
def test_a_steady_flow_has_its_rate(every_s: float, amount: float, times: int) -> None:
    flow = Flow(0.0)
    for i in range(1, times + 1):
        flow.add(i * every_s, amount)
    # Read in the middle between two arrivals, from the first seconds on.
    now = (times + 0.5) * every_s
    if now > 3 * every_s + 2:
        assert flow.per_second(now) == pytest.approx(amount / every_s, rel=0.35)


def test_a_flow_that_ends_is_forgotten() -> None:
    flow = Flow(0.0)
    for i in range(100):
        flow.add(i * 0.1)
    assert flow.per_second(10.0) == pytest.approx(10, rel=0.1)
    assert flow.per_second(100.0) < 1e-4
    flow.add(50.0)  # which was before: nothing is decayed twice
    assert 0 < flow.per_second(100.0) < 1


@given(st.lists(st.tuples(st.integers(1, 5), st.floats(0.001, 5.0)), min_size=1, max_size=400), st.data())
def test_the_storage_time_of_a_sequence_is_exact_to_a_quarter_second(
    steps: list[tuple[int, float]], data: st.DataObject
) -> None:
    stamps, stored, seq, time = StreamTimestamps(), {}, 0, 1e9
    for more, later in steps:
        seq, time = seq + more, time + later
        stored[seq] = time
        stamps.add(seq, time)
    request = data.draw(st.integers(min(stored), max(stored)))
    exactly = stored[min(s for s in stored if s >= request)]
    found = stamps.time(request)
    assert found is not None and exactly <= found <= exactly + EVERY_S + 1e-6
    assert stamps.time(max(stored) + 1) is None and stamps.time(min(stored) - 1) is None


def test_stamps_take_bounded_memory_and_forget_deleted_streams() -> None:
    stamps = StreamTimestamps(every_s=0.0, most=100)
    for i in range(1, 1000):
        stamps.add(i, 1e9 + i)
    assert len(stamps._seqs) <= 125 and stamps.time(950) == 1e9 + 950 and stamps.time(1) is None
    stamps.add(5, 2e9)
    assert stamps.time(950) is None and stamps.time(5) == 2e9


def info(
    delivered: int, seq: int, pending: int, held: int, created: str = "a", floor: int = 0, filters: tuple[str, ...] = ()
) -> ConsumerInfo:
    return ConsumerInfo(
        created=created,
        config=ConsumerConfig(filter_subjects=filters),
        delivered=Place(consumer_seq=delivered, stream_seq=seq),
        ack_floor=Place(consumer_seq=floor, stream_seq=floor),
        num_pending=pending,
        num_ack_pending=held,
    )


def stream(first: int = 1, retention: str = "limits") -> StreamInfo:
    return StreamInfo(
        config=StreamConfig(subjects=("media.>",), retention=retention),
        state=StreamHolds(messages=1, first_seq=first, last_seq=1),
    )


@given(
    st.lists(st.tuples(st.sampled_from(["store", "take", "ack", "expire", "again"]), st.integers(1, 20)), max_size=60)
)
def test_arrived_and_done_messages_are_counted_exactly(acts: list[tuple[str, int]]) -> None:
    """A stream and its consumer, as JetStream counts. Only what was redelivered may hide what has expired."""
    first, last, place, deliveries, held, done = 1, 0, 0, 0, 0, 0
    expired, redelivered = 0, 0
    progress = Progress()
    progress.take(info(0, 0, 0, 0), stream())
    for act, n in acts:
        if act == "store":
            last += n
        elif act == "take":
            n = min(n, last - max(place, first - 1))
            if n > 0:
                place = max(place, first - 1) + n
                deliveries, held = deliveries + n, held + n
        elif act == "ack":
            n = min(n, held)
            held, done = held - n, done + n
        elif act == "expire":
            n = min(n, last - first + 1)
            missing = max(0, first + n - 1 - max(place, first - 1))
            first, expired = first + n, expired + missing
        elif held:
            deliveries, redelivered = deliveries + 1, redelivered + 1
        pending = last - max(place, first - 1)
        before = (progress.arrived, progress.cleared, progress.expired)
        progress.take(info(deliveries, place, pending, held), stream(first))
        assert (progress.arrived, progress.cleared, progress.expired) >= before
        assert progress.arrived == last
        assert expired - redelivered <= progress.expired <= expired
        assert done <= progress.cleared <= done + redelivered
    if not redelivered:
        assert (progress.arrived, progress.cleared, progress.expired) == (last, done, expired)


def test_a_recreated_consumer_and_a_filtered_one_continue_their_counts() -> None:
    progress = Progress()
    progress.take(info(10, 10, 5, 2), stream())
    assert (progress.arrived, progress.cleared) == (15, 8)
    progress.take(info(0, 0, 15, 0, created="b"), stream())
    assert progress.arrived == 30 and progress.expired == 0
    some = Progress()
    some.take(info(4, 900, 3, 1, filters=("media.lobby",)), stream(500))
    assert (some.arrived, some.cleared, some.expired) == (7, 3, 0)


def test_the_oldest_waiting_message_is_the_first_undelivered_one() -> None:
    assert oldest(info(10, 10, 0, 0), stream(), in_flight_waits=True) is None
    assert oldest(info(10, 10, 3, 2, floor=4), stream(), in_flight_waits=False) == 11
    assert oldest(info(10, 10, 3, 2), stream(first=12), in_flight_waits=False) == 12
    # A message in flight waits if no replica runs, and does not wait if a replica processes it.
    assert oldest(info(10, 10, 0, 2, floor=4), stream(), in_flight_waits=False) is None
    assert oldest(info(10, 10, 0, 2, floor=4), stream(), in_flight_waits=True) == 5
