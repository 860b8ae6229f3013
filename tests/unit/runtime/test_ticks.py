"""Ticks: all who wait for one of an interval wait for the same moment."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from shared.runtime.ticks import until_tick

# Sums of these are exact in a float.
EVERY = st.integers(1, 40).map(lambda n: n / 4)
TIMES = st.integers(2**40, 2**41).map(lambda n: n / 1024)
CLOSEST = st.integers(1, 16).map(lambda n: n / 64)


@given(EVERY, TIMES, CLOSEST)
def test_a_tick_is_a_multiple_of_its_interval(every_s: float, now: float, closest: float) -> None:
    wait_s = until_tick(every_s, now, closest)
    assert every_s * closest < wait_s <= every_s * (1 + closest)
    assert (now + wait_s) % every_s == 0


@given(EVERY, TIMES, st.integers(1, 64))
def test_a_timer_that_fires_early_does_not_tick_twice(every_s: float, now: float, early: int) -> None:
    at = now + until_tick(every_s, now)
    fired = at - every_s * early / 256
    assert fired + until_tick(every_s, fired) == at + every_s
