"""Timestamps on the wall clock, with arrivals as networks give them."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ingest.cutting.clock import SETTLE_S, TOLERANCE_S, WINDOW_S, WallClock

T0 = 1_700_000_000.0
STEP = 0.04


def test_burst_at_connect_is_dated_back() -> None:
    clock = WallClock()
    for i in range(100):  # the server's last GOP of 4 s, in one burst
        clock.observe(i * STEP, T0 + i * 0.0001)
    assert not clock.is_settled(T0 + 0.01)
    for i in range(100, 150):
        clock.observe(i * STEP, T0 + (i - 99) * STEP)
    assert clock.is_settled(T0 + 2)
    assert clock.wall(99 * STEP) == pytest.approx(T0, abs=0.02)
    assert clock.reanchors == 0


@given(st.integers(0, 2**32), st.floats(0.0, 0.3))
def test_jitter_does_not_move_it(seed: int, jitter: float) -> None:
    rng = random.Random(seed)
    clock = WallClock()
    arrival = 0.0
    for i in range(3000):
        # Packets do not overtake each other.
        arrival = max(arrival, T0 + i * STEP + rng.random() ** 2 * jitter)
        assert not clock.observe(i * STEP, arrival)
    assert -0.001 <= clock.wall(0.0) - T0 <= TOLERANCE_S
    assert clock.reanchors <= 2


def test_stall_and_catch_up_do_not_move_it() -> None:
    clock = WallClock()
    for i in range(2000):
        stalled = 500 <= i < 625
        assert not clock.observe(i * STEP, T0 + (625 * STEP if stalled else i * STEP))
    assert clock.wall(0.0) == pytest.approx(T0, abs=0.001)
    assert clock.reanchors == 0


def test_stall_at_one_frame_in_five_seconds_is_no_jump() -> None:
    clock = WallClock()
    for arrival in (0, 5, 17, 17, 20, 25):
        timestamp = {17: 10}.get(arrival, arrival)
        assert not clock.observe(timestamp, T0 + arrival)
    assert clock.wall(0) == pytest.approx(T0)


@pytest.mark.parametrize("ppm", [100, -100, 2000, -2000])
def test_drift_is_followed(ppm: int) -> None:
    clock = WallClock()
    rate = 1 + ppm / 1e6
    for i in range(60 * 60 * 25):
        clock.observe(i * STEP * rate, T0 + i * STEP)
        if i % 997 == 0:
            window_drift = 2 * WINDOW_S * abs(ppm) / 1e6
            assert abs(clock.wall(i * STEP * rate) - (T0 + i * STEP)) <= TOLERANCE_S + window_drift
    assert 1 <= clock.reanchors <= 60 * 60 * abs(ppm) / 1e6 / TOLERANCE_S + 1


def test_jump_ahead_is_detected_immediately() -> None:
    clock = WallClock()
    for i in range(50):
        clock.observe(i * STEP, T0 + i * STEP)
    assert clock.observe(50 * STEP + 7.0, T0 + 50 * STEP)
    assert clock.wall(50 * STEP + 7.0) == pytest.approx(T0 + 50 * STEP)
    assert clock.reanchors == 1


def test_pause_of_the_cameras_clock_is_corrected_within_two_windows() -> None:
    clock = WallClock()
    for i in range(1000):
        late = 3.0 if i >= 100 else 0.0
        clock.observe(i * STEP, T0 + i * STEP + late)
    assert clock.wall(999 * STEP) == pytest.approx(T0 + 999 * STEP + 3.0)


def test_own_clock_set_back_an_hour() -> None:
    clock = WallClock()
    for i in range(100):
        clock.observe(i * STEP, T0 + i * STEP)
    assert clock.observe(100 * STEP, T0 + 100 * STEP - 3600)
    assert clock.wall(100 * STEP) == pytest.approx(T0 + 100 * STEP - 3600)
    assert SETTLE_S < WINDOW_S
