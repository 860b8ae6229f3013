"""Verification of late incidents."""

from __future__ import annotations

import msgspec

from services.analytics.camera.statements import Outs
from services.analytics.limits import Limits
from services.analytics.second_pass.state import TAIL_S
from shared.contract import events
from shared.contract.events import Alert, Counts, Incident
from shared.contract.rules import Rules
from shared.contract.work import jobs
from tests.support.worlds.analytics_partition import LIMITS
from tests.support.worlds.analytics_partition import of as of_kind
from tests.support.worlds.analytics_world import verdict
from tests.support.worlds.second_pass import (
    Memory,
    Message,
    Replica,
)
from tests.support.worlds.second_pass_runs import (
    GATE,
    LEFT,
    RIGHT,
    RUNNER,
    SETTLE_S,
    false_alarms,
    live_of,
    play,
    rules_of,
    scene,
    with_frames_left_out,
)

ASKING = rules_of(GATE, verify="Does somebody run?")


def late_incident(book: Rules, limits: Limits = LIMITS) -> tuple[Replica, Outs, float]:
    """A crossing that is found late; and when, by the log's clock."""
    log = Memory(with_frames_left_out(scene([RUNNER]), 3, 8))
    replica = Replica(log, book, msgspec.structs.replace(limits, settle_s=SETTLE_S))
    log.end = len(log.all)
    replica.live()
    now = log.all[-1].time.timestamp() + TAIL_S + 60
    return replica, replica.settle(now), now


def test_a_late_incident_is_verified_and_becomes_a_late_alert() -> None:
    replica, outs, now = late_incident(ASKING)
    (job,) = of_kind(outs, jobs.Verify)
    begun = of_kind(outs, Incident)[0]
    assert (begun.state, begun.late, begun.verification) == ("start", True, "pending")
    assert job.incident == begun.incident and job.segments == [s.seq for s in begun.segments]
    assert not of_kind(outs, Alert) and replica.passes.by_camera
    incidents = replica.partition.verdict(verdict(begun, "confirmed"), now + 5)
    (update,), (alert,) = of_kind(incidents, Incident), of_kind(incidents, Alert)
    assert (update.verification, update.late, alert.late) == ("confirmed", True, True)
    assert all(out.id.startswith("settled/") for out in [*outs, *incidents] if not isinstance(out.what, Counts))


def test_a_late_incident_without_a_verdict_is_an_unverified_alert() -> None:
    replica, _, now = late_incident(ASKING)
    outs = replica.wait(now + LIMITS.verify_s)
    (alert,) = of_kind(outs, Alert)
    assert (alert.verification, alert.late) == ("unverified", True)
    replica.wait(now + LIMITS.verify_s + 4000)
    assert not replica.passes.by_camera


def test_a_verdict_replayed_before_its_incident_counts() -> None:
    """As after a crash: verdicts are read immediately, and the second pass takes its time."""
    _, outs, now = late_incident(ASKING)
    begun = of_kind(outs, Incident)[0]
    log = Memory(with_frames_left_out(scene([RUNNER]), 3, 8))
    log.end = len(log.all)
    other = Replica(log, ASKING, msgspec.structs.replace(LIMITS, settle_s=SETTLE_S))
    other.live()
    other.partition.verdict(verdict(begun, "rejected"), now)
    again = other.settle(now)
    assert [i.verification for i in of_kind(again, Incident)] == ["pending", "pending", "rejected"]
    assert not of_kind(again, Alert)


def test_a_job_that_vlm_refuses_leaves_a_late_incident_unverified() -> None:
    replica, outs, _ = late_incident(ASKING)
    (job,) = of_kind(outs, jobs.Verify)
    output = replica.partition.refused("lobby", job.incident)
    assert [type(o.what) for o in output] == [Incident, Alert] and all(o.what.late for o in output)  # type: ignore[union-attr]


def test_a_late_incident_alerts_immediately_if_its_rule_alerts_immediately() -> None:
    _, outs, _ = late_incident(rules_of(GATE, alert="start"))
    (alert,) = of_kind(outs, Alert)
    assert alert.late and alert.verification == "none"


def test_a_false_alarm_keeps_its_verdict() -> None:
    book = rules_of(GATE, verify="Does somebody cross?")
    stored = with_frames_left_out(scene([LEFT, RIGHT]), 3, 8)
    begun, *_ = live_of(play(stored, book), Incident)
    incidents = verdict(begun, "confirmed")
    data = Message(9.2, events.subject(incidents), "vlm/1", events.encode(incidents))
    (marked,) = false_alarms(play([*stored, data], book))
    assert (marked.verification, marked.confidence) == ("confirmed", 0.9)
