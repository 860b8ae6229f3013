"""Schedules of rules."""

from __future__ import annotations

import datetime as dt
from typing import Any

import msgspec
from hypothesis import assume, given
from hypothesis import strategies as st

from shared.contract import rules
from shared.contract.rules import DAYS, Schedule

MONDAY = dt.datetime(2026, 11, 23)


def on(day: int, clock: str) -> dt.datetime:
    """day: 0 is Monday."""
    hour, minute = map(int, clock.split(":"))
    return MONDAY + dt.timedelta(days=day, hours=hour, minutes=minute)


def schedule(**fields: Any) -> Schedule:
    return msgspec.convert(fields, Schedule)


def test_a_schedule_includes_its_first_minute_and_excludes_its_last() -> None:
    noon = schedule(**{"from": "12:00", "until": "13:00", "days": ["mon"]})
    assert [noon.holds(on(0, c)) for c in ("11:59", "12:00", "12:59", "13:00")] == [False, True, True, False]
    assert not noon.holds(on(1, "12:30"))


def test_a_schedule_over_midnight_belongs_to_its_first_day() -> None:
    night = schedule(**{"from": "22:00", "until": "06:00", "days": ["fri"]})
    holds = {"fri": [on(4, "22:00"), on(4, "23:59")], "sat": [on(5, "00:00"), on(5, "05:59")]}
    assert all(night.holds(t) for times in holds.values() for t in times)
    not_then = [on(4, "05:59"), on(4, "00:00"), on(4, "21:59"), on(5, "06:00"), on(5, "22:00"), on(3, "23:00")]
    assert not any(night.holds(t) for t in not_then)


def test_a_night_of_sunday_ends_on_monday() -> None:
    night = schedule(**{"from": "22:00", "until": "06:00", "days": ["sun"]})
    assert night.holds(on(7, "05:00")) and night.holds(on(0, "05:00")) and not night.holds(on(1, "05:00"))


def test_a_schedule_without_times_is_the_whole_day() -> None:
    weekend = schedule(days=["sat", "sun"])
    hours = [on(day, clock) for day in range(7) for clock in ("00:00", "12:00", "23:59")]
    assert [weekend.holds(t) for t in hours] == [t.weekday() >= 5 for t in hours]
    assert all(schedule().holds(t) for t in hours)
    until_midnight = [schedule(**{"from": "22:00", "until": until}) for until in ("24:00", "00:00")]
    assert all(s.holds(on(0, "23:59")) and not s.holds(on(1, "00:00")) for s in until_midnight)


clocks = st.builds("{:02}:{:02}".format, st.integers(0, 23), st.integers(0, 59)) | st.just("24:00")
weeks = st.lists(st.sampled_from(DAYS), min_size=1, unique=True)


@given(clocks, clocks, weeks, st.integers(0, 7 * 24 * 60 - 1))
def test_a_schedule_holds_in_its_range_on_each_of_its_days(
    start: str, until: str, days: list[str], minute: int
) -> None:
    assume(start != until)

    def minutes(clock: str) -> int:
        return int(clock[:2]) * 60 + int(clock[3:])

    first, last = minutes(start), minutes(until)
    length = last - first if last > first else last - first + 24 * 60
    begins = [DAYS.index(d) * 24 * 60 + first for d in days]  # type: ignore[arg-type]
    expected = any((minute - b) % (7 * 24 * 60) < length for b in begins)
    found = schedule(**{"from": start, "until": until, "days": days})
    assert found.holds(MONDAY + dt.timedelta(minutes=minute)) == expected


def test_a_schedule_follows_the_cameras_time_zone() -> None:
    night = schedule(**{"from": "22:00", "until": "06:00", "days": ["mon"]})
    utc = dt.datetime(2026, 11, 23, 21, 30, tzinfo=dt.UTC)
    berlin = rules.read(b"timezone: Europe/Berlin", "a file").zone_info()
    assert night.holds(utc.astimezone(berlin)) and not night.holds(utc)
    tokyo = rules.read(b"timezone: Asia/Tokyo", "a file").zone_info()
    assert not night.holds(utc.astimezone(tokyo))
