"""Messages that expired before a consumer saw them: never overcounted, never counted twice."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.scaler.consumers.counts import ExpiryCounter
from shared.bus.infos import ConsumerConfig, ConsumerInfo, StreamConfig, StreamHolds, StreamInfo


def counter(first: int = 1, stream: int = 0, consumer: int = 0) -> ExpiryCounter:
    expiry = ExpiryCounter()
    assert expiry.count(first_seq=first, stream_seq=stream, consumer_seq=consumer) == 0
    return expiry


def test_a_consumer_that_keeps_up_loses_nothing() -> None:
    expiry = counter()
    assert expiry.count(first_seq=1, stream_seq=50, consumer_seq=50) == 0
    # Delivered messages may expire.
    assert expiry.count(first_seq=40, stream_seq=90, consumer_seq=90) == 0


def test_skipped_messages_have_expired() -> None:
    expiry = counter(stream=10, consumer=10)
    assert expiry.count(first_seq=30, stream_seq=35, consumer_seq=16) == 19  # 11..29


def test_messages_expired_ahead_of_it_count_once_before_it_moves() -> None:
    expiry = counter(stream=10, consumer=10)
    assert expiry.count(first_seq=31, stream_seq=10, consumer_seq=10) == 20  # 11..30
    assert expiry.count(first_seq=31, stream_seq=10, consumer_seq=10) == 0
    assert expiry.count(first_seq=31, stream_seq=32, consumer_seq=12) == 0
    assert expiry.count(first_seq=36, stream_seq=32, consumer_seq=12) == 3  # 33..35
    assert expiry.total == 23


def test_redeliveries_lower_the_bound_but_never_the_count() -> None:
    expiry = counter(stream=10, consumer=10)
    assert expiry.count(first_seq=1, stream_seq=12, consumer_seq=40) == 0
    assert expiry.count(first_seq=20, stream_seq=21, consumer_seq=42) == 7
    assert expiry.total == 7


def test_expiries_before_the_first_observation_do_not_count() -> None:
    expiry = counter(first=100, stream=10, consumer=10)
    assert expiry.count(first_seq=100, stream_seq=105, consumer_seq=16) == 0


def test_a_new_consumer_or_stream_resets_the_count() -> None:
    expiry = counter(first=100, stream=500, consumer=400)
    assert expiry.count(first_seq=100, stream_seq=450, consumer_seq=0) == 0
    assert expiry.count(first_seq=1, stream_seq=3, consumer_seq=3) == 0
    assert expiry.count(first_seq=1, stream_seq=9, consumer_seq=9) == 0


actions = st.lists(
    st.one_of(
        st.tuples(st.just("publish"), st.integers(1, 20)),
        st.tuples(st.just("deliver"), st.integers(1, 20)),
        st.tuples(st.just("redeliver"), st.integers(1, 5)),
        st.tuples(st.just("expire"), st.integers(1, 20)),
        st.tuples(st.just("look"), st.just(0)),
    ),
    max_size=60,
)


@given(actions)
def test_the_count_is_a_lower_bound_and_exact_without_redeliveries(steps: list[tuple[str, int]]) -> None:
    last, first, place, deliveries, lost, redelivered = 0, 1, 0, 0, 0, False
    expiry = counter()
    for what, n in [*steps, ("look", 0)]:
        if what == "publish":
            last += n
        elif what == "redeliver" and place:
            deliveries, redelivered = deliveries + n, True
        elif what == "look":
            expiry.count(first_seq=first, stream_seq=place, consumer_seq=deliveries)
            ahead = max(0, first - 1 - place)
            assert expiry.total <= lost + ahead
            if not redelivered:
                assert expiry.total == lost + ahead
        for _ in range(n):
            if what == "expire" and first <= last:
                first += 1
            elif what == "deliver" and max(place + 1, first) <= last:
                lost += max(0, first - 1 - place)
                place, deliveries = max(place + 1, first), deliveries + 1


def test_a_recreated_stream_that_begins_late_has_no_expiries() -> None:
    expiry = ExpiryCounter()
    assert expiry.count(first_seq=1, stream_seq=0, consumer_seq=0, created="then") == 0
    assert expiry.count(first_seq=10**12, stream_seq=0, consumer_seq=0, created="now") == 0
    assert expiry.count(first_seq=10**12 + 5, stream_seq=10**12 - 1, consumer_seq=0, created="now") == 5


def test_nothing_that_passed_during_a_pause_is_counted() -> None:
    expiry = ExpiryCounter()
    expiry.count(first_seq=1, stream_seq=10, consumer_seq=10)
    expiry.pause()
    assert expiry.count(first_seq=40, stream_seq=60, consumer_seq=30) == 0
    assert expiry.count(first_seq=65, stream_seq=60, consumer_seq=30) == 4


def test_a_stream_is_whole_for_a_consumer_until_it_has_main_streams() -> None:
    cv = ConsumerInfo(config=ConsumerConfig(filter_subject="media.>"))
    subjects = StreamConfig(subjects=("media.>", "main.>"))
    assert StreamInfo(config=subjects).is_whole(cv)
    assert not StreamInfo(config=subjects, state=StreamHolds(subjects={"main.lobby": 3})).is_whole(cv)
