"""Messages that expired before a consumer saw them: never overcounted, never counted twice."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.scaler.consumers.counts import ExpiryCounter
from shared.bus.infos import ConsumerConfig, ConsumerInfo, StreamConfig, StreamHolds, StreamInfo

# After every message of these.
LAST = 10**13


def counter(first: int = 1, stream: int = 0, consumer: int = 0) -> ExpiryCounter:
    expiry = ExpiryCounter()
    assert expiry.count(first_seq=first, last_seq=LAST, stream_seq=stream, consumer_seq=consumer) == 0
    return expiry


def test_a_consumer_that_keeps_up_loses_nothing() -> None:
    expiry = counter()
    assert expiry.count(first_seq=1, last_seq=LAST, stream_seq=50, consumer_seq=50) == 0
    # Delivered messages may expire.
    assert expiry.count(first_seq=40, last_seq=LAST, stream_seq=90, consumer_seq=90) == 0


def test_skipped_messages_have_expired() -> None:
    expiry = counter(stream=10, consumer=10)
    assert expiry.count(first_seq=30, last_seq=LAST, stream_seq=35, consumer_seq=16) == 19  # 11..29


def test_messages_expired_ahead_of_it_count_once_before_it_moves() -> None:
    expiry = counter(stream=10, consumer=10)
    assert expiry.count(first_seq=31, last_seq=LAST, stream_seq=10, consumer_seq=10) == 20  # 11..30
    assert expiry.count(first_seq=31, last_seq=LAST, stream_seq=10, consumer_seq=10) == 0
    assert expiry.count(first_seq=31, last_seq=LAST, stream_seq=32, consumer_seq=12) == 0
    assert expiry.count(first_seq=36, last_seq=LAST, stream_seq=32, consumer_seq=12) == 3  # 33..35
    assert expiry.total == 23


def test_redeliveries_lower_the_bound_but_never_the_count() -> None:
    expiry = counter(stream=10, consumer=10)
    assert expiry.count(first_seq=1, last_seq=LAST, stream_seq=12, consumer_seq=40) == 0
    assert expiry.count(first_seq=20, last_seq=LAST, stream_seq=21, consumer_seq=42) == 7
    assert expiry.total == 7


def test_expiries_before_the_first_observation_do_not_count() -> None:
    expiry = counter(first=100, stream=10, consumer=10)
    assert expiry.count(first_seq=100, last_seq=LAST, stream_seq=105, consumer_seq=16) == 0


def test_a_new_consumer_or_stream_resets_the_count() -> None:
    expiry = counter(first=100, stream=500, consumer=400)
    assert expiry.count(first_seq=100, last_seq=LAST, stream_seq=450, consumer_seq=0) == 0
    assert expiry.count(first_seq=1, last_seq=LAST, stream_seq=3, consumer_seq=3) == 0
    assert expiry.count(first_seq=1, last_seq=LAST, stream_seq=9, consumer_seq=9) == 0


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
            expiry.count(first_seq=first, last_seq=last, stream_seq=place, consumer_seq=deliveries)
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


def test_a_purge_counts_although_the_stream_was_read_before_its_messages() -> None:
    expiry = counter()
    assert expiry.count(first_seq=1, last_seq=0, stream_seq=4, consumer_seq=4) == 0
    assert expiry.count(first_seq=1, last_seq=0, stream_seq=8, consumer_seq=4) == 0
    assert expiry.count(first_seq=9, last_seq=10, stream_seq=8, consumer_seq=4) == 4  # 5..8


stale = st.lists(st.tuples(st.sampled_from(["publish", "deliver", "expire", "read", "look"]), st.integers(1, 9)))


@given(stale)
def test_a_stream_that_was_read_long_before_its_consumer_hides_nothing(steps: list[tuple[str, int]]) -> None:
    last, first, place, deliveries, lost = 0, 1, 0, 0, 0
    read = (first, last)
    expiry = counter()
    for what, n in [*steps, ("read", 1), ("look", 1)]:
        if what == "publish":
            last += n
        elif what == "deliver":
            fresh = min(n, last - place)
            place, deliveries = place + fresh, deliveries + fresh
        elif what == "expire":
            first = min(first + n, last + 1)
            # The server moves the place of a consumer past what it removes.
            lost += max(0, first - 1 - place)
            place = max(place, first - 1)
        elif what == "read":
            read = (first, last)
        else:
            expiry.count(first_seq=read[0], last_seq=read[1], stream_seq=place, consumer_seq=deliveries)
            assert expiry.total <= lost
    assert expiry.total == lost


class Mixed:
    """A stream of two kinds of messages, of which a consumer gets one ("m": its own, "x": others)."""

    def __init__(self) -> None:
        self.messages: list[str] = []
        self.first, self.place, self.deliveries, self.expired = 1, 0, 0, 0
        self.expiry = ExpiryCounter()
        self.look()

    def publish(self, kinds: str) -> None:
        self.messages += kinds

    def expire(self, n: int) -> None:
        for _ in range(min(n, len(self.messages) - self.first + 1)):
            self.expired += self.first > self.place and self.messages[self.first - 1] == "m"
            self.first += 1

    def deliver(self, n: int) -> None:
        ahead = (seq for seq in range(max(self.place + 1, self.first), len(self.messages) + 1))
        for seq in [seq for seq in ahead if self.messages[seq - 1] == "m"][:n]:
            self.place, self.deliveries = seq, self.deliveries + 1

    def look(self) -> int:
        pending = self.messages[max(self.place, self.first - 1) :].count("m")
        return self.expiry.count(
            first_seq=self.first,
            last_seq=len(self.messages),
            stream_seq=self.place,
            consumer_seq=self.deliveries,
            pending=pending,
        )


@given(st.text("mx", max_size=60), actions)
def test_an_estimate_is_of_expired_messages_only(kinds: str, steps: list[tuple[str, int]]) -> None:
    mixed = Mixed()
    mixed.publish(kinds)
    mixed.look()
    for what, n in [*steps, ("look", 0)]:
        if what == "publish":
            mixed.publish("m" * n)
        elif what == "expire":
            mixed.expire(n)
        elif what == "deliver":
            mixed.deliver(n)
        else:
            mixed.look()
            assert mixed.expiry.total <= mixed.expired


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), max_size=30))
def test_a_consumer_that_keeps_up_has_no_estimate(rounds: list[tuple[int, int]]) -> None:
    mixed = Mixed()
    for published, expired in rounds:
        mixed.publish("mx" * published)
        mixed.deliver(published)
        mixed.expire(expired)
        assert mixed.look() == 0


@given(st.lists(st.tuples(st.integers(1, 20), st.integers(0, 8)), min_size=1, max_size=60))
def test_the_estimate_is_near_the_truth_where_messages_alternate(rounds: list[tuple[int, int]]) -> None:
    """As with a substream and a main stream of the same cameras, whose consumer falls behind the stream's limit."""
    mixed = Mixed()
    mixed.publish("xm" * 40)
    mixed.look()
    for published, delivered in rounds:
        mixed.publish("xm" * published)
        mixed.deliver(delivered)
        mixed.expire(2 * published)
        mixed.look()
    assert abs(mixed.expiry.total - mixed.expired) <= len(rounds) + 1


def test_a_stream_that_gets_others_starts_a_new_count() -> None:
    expiry = counter(stream=10, consumer=10)
    assert expiry.count(first_seq=31, last_seq=50, stream_seq=10, consumer_seq=10, pending=20) == 0
    assert expiry.count(first_seq=41, last_seq=50, stream_seq=10, consumer_seq=10, pending=10) == 10
    assert expiry.count(first_seq=45, last_seq=50, stream_seq=10, consumer_seq=10) == 0
    assert expiry.count(first_seq=47, last_seq=50, stream_seq=10, consumer_seq=10) == 2


def test_the_first_messages_of_another_kind_do_not_count() -> None:
    """The consumer has passed them, and the stream was read before they came."""
    expiry = counter(stream=10, consumer=10)
    assert expiry.count(first_seq=1, last_seq=12, stream_seq=30, consumer_seq=20) == 0
    assert expiry.count(first_seq=1, last_seq=30, stream_seq=30, consumer_seq=20, pending=0) == 0
    assert expiry.count(first_seq=21, last_seq=30, stream_seq=30, consumer_seq=20, pending=0) == 0


def test_a_recreated_stream_that_begins_late_has_no_expiries() -> None:
    expiry = ExpiryCounter()
    assert expiry.count(first_seq=1, last_seq=LAST, stream_seq=0, consumer_seq=0, created="then") == 0
    assert expiry.count(first_seq=10**12, last_seq=LAST, stream_seq=0, consumer_seq=0, created="now") == 0
    assert expiry.count(first_seq=10**12 + 5, last_seq=LAST, stream_seq=10**12 - 1, consumer_seq=0, created="now") == 5


def test_nothing_that_passed_during_a_pause_is_counted() -> None:
    expiry = ExpiryCounter()
    expiry.count(first_seq=1, last_seq=LAST, stream_seq=10, consumer_seq=10)
    expiry.pause()
    assert expiry.count(first_seq=40, last_seq=LAST, stream_seq=60, consumer_seq=30) == 0
    assert expiry.count(first_seq=65, last_seq=LAST, stream_seq=60, consumer_seq=30) == 4


def test_a_stream_is_whole_for_a_consumer_until_it_has_main_streams() -> None:
    cv = ConsumerInfo(config=ConsumerConfig(filter_subject="media.>"))
    subjects = StreamConfig(subjects=("media.>", "main.>"))
    assert StreamInfo(config=subjects).is_whole(cv)
    assert not StreamInfo(config=subjects, state=StreamHolds(subjects={"main.lobby": 3})).is_whole(cv)
