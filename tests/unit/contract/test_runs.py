"""Runs in their bucket: valid entries round-trip, invalid ones are named, and silent processes are detected."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.contract.work import runs
from shared.runtime.errors import SettingError
from tests.support.worlds.runs import NOW, reanalysis

TIMES = st.datetimes(dt.datetime(1971, 1, 1), dt.datetime(2100, 1, 1), timezones=st.just(dt.UTC))


@given(st.integers(0, 10**9), st.integers(0, 10**9), TIMES, st.text(max_size=500), st.sampled_from(["done", "failed"]))
def test_a_run_round_trips(some: int, more: int, began: dt.datetime, text: str, state: str) -> None:
    run = reanalysis(
        "r", "lobby", frames_done=some, frames=some + more, pieces_done=some, pieces=some + more, began=began,
        output=text, reason=text, state=state, fps=None, ends=None,
    )  # fmt: skip
    assert runs.decode("r", runs.encode(run)) == run


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"cameras": []}, "length"),
        ({"cameras": ["a b"]}, "cameras"),
        ({"state": "resting"}, "resting"),
        ({"frames_done": 4001}, "its frames_done is 4001, of 4000"),
        ({"pieces_done": -1}, "pieces_done"),
        ({"until": "2020-01-01T00:00:00Z"}, "is not before its until"),
        ({"since": "1890-01-01T00:00:00Z"}, "since"),
        ({"began": "2026-11-29T10:00:00"}, "began"),
        ({"ends": "2300-01-01T00:00:00Z"}, "is not between 1970 and 2101"),
        ({"frames_per_s": 1e300}, "frames_per_s"),
        ({"run": "another"}, "its run is 'another'"),
        ({"run": "a/../b"}, "run"),
        ({"engine": "horses"}, "horses"),
    ],
)
def test_an_invalid_field_of_a_run_is_named(fields: dict[str, Any], words: str) -> None:
    written = json.dumps(json.loads(runs.encode(reanalysis("r", "lobby"))) | fields).encode()
    with pytest.raises(SettingError, match="entry 'r' in bucket 'runs' is not a run") as error:
        runs.decode("r", written)
    assert words in str(error.value)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff", b"[" * 100_000, b'{"run": "r"}'])
def test_invalid_runs_are_refused(data: bytes) -> None:
    with pytest.raises(SettingError, match="is not a run"):
        runs.decode("r", data)


@pytest.mark.parametrize(
    ("state", "here_s", "stored_s", "heard"),
    [
        ("looking", 0, 0, True),
        ("following", 61, 61, False),
        ("looking", 61, -4000, False),  # our clock is behind
        ("looking", 9, 4000, True),  # our clock is ahead: it has just been heard
        ("looking", 21, 4000, False),  # a console that has just started knows the same
        ("done", 9000, 9000, True),
        ("stopped", 9000, 9000, True),
        ("failed", 9000, 9000, True),
    ],
)
def test_a_run_counts_as_alive_while_it_reports(state: str, here_s: float, stored_s: float, heard: bool) -> None:
    run = reanalysis("r", "lobby", state=state, began=NOW)
    assert runs.is_heard(run, here_s, stored_s) is heard
