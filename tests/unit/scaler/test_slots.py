"""When readers poll: in shared slots, once per interval, spread also after a stall."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.scaler.consumers.slots import FULL, SLOTS, free_slot, next_poll

TIMES = st.floats(1.0, 1e7)
SLOT = st.integers(0, SLOTS - 1)
EVERY = st.sampled_from([0.1, 1.0, 2.5])


@given(TIMES, SLOT, EVERY)
def test_the_next_poll_is_at_most_one_interval_later(now: float, slot: int, every_s: float) -> None:
    pause = next_poll(now, slot, every_s) - now
    assert every_s / SLOTS / 2 - 1e-6 <= pause <= every_s * (1 + 0.5 / SLOTS) + 1e-6


@given(TIMES, SLOT, EVERY, st.floats(-0.4, 0.4))
def test_a_late_or_early_timer_does_not_move_the_next_poll(now: float, slot: int, every_s: float, off: float) -> None:
    due = next_poll(now, slot, every_s)
    later = next_poll(due + off * every_s / SLOTS, slot, every_s)
    assert abs(later - due - every_s) < 1e-6


@given(TIMES, EVERY)
def test_readers_that_stall_together_poll_in_all_slots_again(now: float, every_s: float) -> None:
    times = {round(next_poll(now, slot, every_s) / every_s * SLOTS) for slot in range(SLOTS)}
    assert len(times) == SLOTS


@given(st.lists(SLOT, max_size=300))
def test_a_slot_is_filled_before_another_one_is_used(taken: list[int]) -> None:
    slot = free_slot(taken)
    assert all(taken.count(earlier) >= FULL for earlier in range(slot)) or taken.count(slot) >= FULL
    if taken.count(slot) >= FULL:
        assert taken.count(slot) == min(map(taken.count, range(SLOTS)))


def test_many_readers_are_spread_over_all_slots() -> None:
    taken: list[int] = []
    for _ in range(50 * SLOTS):
        taken.append(free_slot(taken))
    assert {taken.count(slot) for slot in range(SLOTS)} == {50}
