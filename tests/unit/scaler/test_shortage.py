"""Why fewer replicas are ready than needed: one cause, by evidence."""

from __future__ import annotations

import os

import msgspec
import pytest

from services.scaler.live.heartbeats import Beat, Heartbeats
from services.scaler.live.shortage import Fleet, ShortageClock, Situation, shortage
from tidegate.local.scaling.scaled_objects import scaled_object
from tidegate.view.up import fit

SHORT = Situation(needed=4.2, ready=2, loading=0, short_s=20, loading_s=0, cold_start_s=60)
FLEET = Fleet(requested=2, maximum=2, maximum_by="the 2 cores of this machine", maximum_remedy="a GPU", reason="lag 9")


def fleet(**changes: object) -> Fleet:
    return msgspec.structs.replace(FLEET, **changes)


def situation(**changes: object) -> Situation:
    return msgspec.structs.replace(SHORT, **changes)


@pytest.mark.parametrize(
    ("seen", "local", "cause", "words"),
    [
        (SHORT, FLEET, "maximum", "5 are needed, and 2 is the maximum, set by the 2 cores of this machine: a GPU"),
        (SHORT, fleet(requested=3, maximum=9), "scaling", "the local autoscaler requests 3 of 5 so far: lag 9"),
        (
            situation(ready=0, loading=2, loading_s=4),
            FLEET,
            "starting",
            "2 are starting, for 4 s of 60 s; 2 is the maximum, set by the 2 cores of this machine",
        ),
        (
            situation(needed=3, loading=1, loading_s=100),
            fleet(requested=3, maximum=9),
            "starting",
            "1 is starting, for 100 s of 60 s, which is late: see logs/*.log in the data folder",
        ),
        (SHORT, fleet(failure="cv-0 exited (no model)"), "dying", "cv-0 exited (no model): correct what it says"),
        (situation(lost=("cv-7",)), None, "dying", "became silent without draining: cv-7: kubectl"),
        (situation(loading=1, loading_s=9), None, "starting", "1 is starting, for 9 s of 60 s"),
        (SHORT, None, "starting", "3 more are requested for 20 s, and not heard yet"),
        (situation(short_s=200), None, "scaling", "KEDA has run no more than 2 for 200 s"),
    ],
)
def test_the_evidence_decides_the_cause(seen: Situation, local: Fleet | None, cause: str, words: str) -> None:
    found = shortage(seen, local)
    assert found and found.cause == cause and words in found.words
    assert ("KEDA" in found.words) <= (local is None)


@pytest.mark.parametrize("needed", [0, 1.9, 2.2])
def test_what_the_hpa_tolerates_is_no_shortage(needed: float) -> None:
    assert shortage(situation(needed=needed), FLEET) is None


def test_a_shortage_lasts_from_its_first_moment() -> None:
    clock = ShortageClock()
    for now, needed, loading in ((0, 1.0, 0), (10, 3.0, 0), (20, 3.0, 2)):
        clock.observe(now, needed=needed, ready=1, loading=loading)
    assert (clock.short_s(25), clock.loading_s(25)) == (15, 5)
    clock.observe(30, needed=1, ready=1, loading=0)
    assert (clock.short_s(35), clock.loading_s(35)) == (0, 0)


def test_a_replica_that_drained_was_not_lost() -> None:
    heartbeats = Heartbeats()
    for replica, state in (("a", "ready"), ("b", "draining"), ("c", "ready")):
        beat = Beat(replica=replica, pid=1, state=state, processed=0, working_s=0)  # type: ignore[arg-type]
        heartbeats.beat(beat, 0.0 if replica != "c" else 20.0)
    assert heartbeats.lost(21, 60) == ["a"]
    assert heartbeats.lost(70, 60) == ["c"]


def test_the_machine_or_the_file_sets_the_maximum(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CV_DEVICE", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    scaled = scaled_object("cv")
    assert fit(scaled, "CV_DEVICE").limit_in_words.by == "the 2 cores of this machine"
    assert "CV_DEVICE=cuda" in fit(scaled, "CV_DEVICE").limit_in_words.remedy
    assert fit(scaled.with_maximum(1), "CV_DEVICE").limit_in_words.by == f"maxReplicaCount of {scaled.name}"
