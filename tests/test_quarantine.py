"""Which message is next, and whether it is worked on alone."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from shared.worker.extensions.quarantine import Arrived, Quarantine, suspect_from

THRESHOLDS = (3, 5)
QUARANTINE = Quarantine(THRESHOLDS)
MESSAGES = st.lists(
    st.builds(Arrived, rank=st.integers(0, 1), seq=st.integers(1, 99), deliveries=st.integers(1, 9)),
    max_size=12,
    unique_by=lambda m: (m.rank, m.seq),
).map(lambda found: sorted(found, key=lambda m: m.rank))


@given(MESSAGES)
def test_what_is_no_suspect_comes_first_and_suspects_come_alone(arrived: list[Arrived]) -> None:
    turn = QUARANTINE.next(arrived)
    well = [m for m in arrived if m.deliveries < THRESHOLDS[m.rank]]
    assert all(QUARANTINE.is_suspect(m.rank, m.deliveries) == (m not in well) for m in arrived)
    if not arrived:
        assert turn is None
    else:
        assert turn is not None
        assert turn.alone == (not well)
        if well:
            assert arrived[turn.which] == well[0], "the most urgent, and of those the oldest"


@given(
    st.sets(st.tuples(st.integers(0, 1), st.integers(1, 99)), min_size=1, max_size=8),
    st.integers(0, 7),
    st.integers(0, 1),
)
def test_within_two_deliveries_a_poison_message_is_all_that_is_left(
    held: set[tuple[int, int]], which: int, later: int
) -> None:
    """A process that dies of it is started again, and is given the same messages, one delivery further."""
    poison = sorted(held)[which % len(held)]
    left, deliveries = set(held), max(THRESHOLDS) + later
    for _ in range(2):
        while True:
            arrived = [Arrived(rank, seq, deliveries) for rank, seq in sorted(left)]
            turn = QUARANTINE.next(arrived)
            assert turn is not None and turn.alone
            rank, seq, _ = arrived[turn.which]
            if (rank, seq) == poison:
                break
            left.remove((rank, seq))
        deliveries += 1
    assert left == {poison}


@given(MESSAGES, st.randoms())
def test_the_choice_of_a_suspect_does_not_depend_on_the_order_of_arrival(
    arrived: list[Arrived], chance: object
) -> None:
    suspects = [m._replace(deliveries=m.deliveries + 4) for m in arrived]
    shuffled = sorted(suspects, key=lambda m: (m.rank, chance.random()))  # type: ignore[attr-defined]
    turn, other = QUARANTINE.next(suspects), QUARANTINE.next(shuffled)
    assert (turn and suspects[turn.which]) == (other and shuffled[other.which])


def test_a_server_may_restart_half_of_the_deliveries_before_a_message_is_a_suspect() -> None:
    assert suspect_from(10, at_least=3, is_server=True) == 5
    assert suspect_from(5, at_least=3, is_server=True) == 3
    assert suspect_from(10, at_least=3, is_server=False) == 3
    assert suspect_from(-1, at_least=3, is_server=True) == 3, "delivered without limit"
