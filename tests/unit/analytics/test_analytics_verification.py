"""Verification of incidents: jobs, verdicts, and alerts."""

from __future__ import annotations

import itertools

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.contract.events import Alert, Incident
from shared.contract.work import jobs
from tests.support.examples import examples
from tests.support.video.walking_people import START
from tests.support.worlds.incident_watch import ENTER, RULE_WITH_QUESTION, SECOND, T, Watch, case, ref, rule, verdict


@given(st.integers(0, 200), st.integers(0, 200))
@settings(max_examples=examples(40))
def test_a_job_asks_about_the_evidence(before: int, held: int) -> None:
    rule_with_question = rule("enter", zone="door", verify="Is somebody there?", hold_s=held / 4)
    watch = Watch(rule_with_question).for_s(before / 4).for_s((held + 1) / 4, "a")
    (begun,) = watch.of(Incident)
    (job,) = watch.of(jobs.Verify)
    evidence = [
        r.seq
        for r in map(ref, range(60 * 4))
        if begun.start.timestamp() - 1 < r.end and r.start <= T + (before + held) / 4
    ]
    assert [s.seq for s in begun.segments] == evidence
    assert set(job.segments) <= set(evidence) and job.segments == sorted(set(job.segments))
    assert len(job.segments) == min(12, len(evidence))
    assert (job.segments[0], job.segments[-1]) == (evidence[0], evidence[-1])
    steps = [b - a for a, b in itertools.pairwise(job.segments)]
    assert not steps or max(steps) - min(steps) <= 1
    assert (job.camera, job.incident, job.rule, job.prompt) == ("lobby", begun.incident, "r", "Is somebody there?")
    assert (job.start, job.end) == (START + (evidence[0] - 100) * SECOND, START + (evidence[-1] - 99) * SECOND)
    assert jobs.decode(jobs.subject(job), jobs.encode(job)) == job
    assert begun.verification == "pending"


def test_the_longest_names_still_make_a_job() -> None:
    longest = rule("proximity", to=["person"], distance=1, verify="?")
    longest = msgspec.structs.replace(longest, id="r" * 64)
    ids = ["0123abcd1234567-100001", "0123abcd1234567-100002"]
    watch = Watch(longest).see([{"+".join(ids): case(*ids)}])
    (job,) = watch.of(jobs.Verify)
    assert jobs.decode(jobs.subject(job), jobs.encode(job)) == job


@pytest.mark.parametrize("text", ["confirmed", "rejected", "uncertain"])
@pytest.mark.parametrize("ended", [False, True])
def test_a_verdict_joins_its_incident(text: str, ended: bool) -> None:
    watch = Watch(RULE_WITH_QUESTION).for_s(2, "a").for_s(3 * ended)
    begun = watch.of(Incident)[0]
    count = len(watch.events)
    watch.verdict(verdict(begun.incident, text))
    judged = watch.of(Incident)[-1]
    assert (judged.state, judged.verification, judged.confidence) == ("update", text, 0.9)
    assert judged.incident == begun.incident and judged.reason == f"it is {text}"
    assert (judged.end is not None) == ended and judged.time == START + 1.75 * SECOND
    # A repeated verdict and a verdict on another incident change nothing.
    watch.verdict(verdict(begun.incident, text)).verdict(verdict("x", text))
    assert len(watch.events) - count == 1 + (text != "rejected")
    if not ended:
        watch.for_s(3)
        over = watch.of(Incident)[-1]
        assert (over.state, over.verification, over.reason) == ("end", text, f"it is {text}")
    assert watch.until(10_000).of(Incident)[-1].verification == text


def test_without_a_verdict_in_time_it_is_unverified() -> None:
    watch = Watch(RULE_WITH_QUESTION).for_s(2, "a").for_s(3)
    # The wait counts from when the first segment was stored.
    assert watch.incidents.verifications.deadline() == T + 1 + 60
    assert watch.until(60.9).of(Incident)[-1].verification == "pending"
    judged = watch.until(61).of(Incident)[-1]
    assert (judged.state, judged.verification, judged.confidence) == ("update", "unverified", None)
    assert "60 s" in judged.reason


def test_a_late_verdict_still_joins_but_not_for_ever() -> None:
    watch = Watch(RULE_WITH_QUESTION).for_s(2, "a").for_s(3).until(61)
    id = watch.of(Incident)[0].incident
    other = Watch(RULE_WITH_QUESTION).for_s(2, "a").for_s(3).until(61)
    watch.until(61 + 3599).verdict(verdict(id, "confirmed"))
    judged = watch.of(Incident)[-1]
    assert (judged.verification, judged.confidence, judged.reason) == ("confirmed", 0.9, "it is confirmed")
    other.until(61 + 3600).verdict(verdict(id, "confirmed"))
    assert other.of(Incident)[-1].verification == "unverified"
    assert watch.incidents.verifications.deadline() is None and other.incidents.verifications.deadline() is None


ALERTS = [
    ("confirmed", ["confirmed"], 1),
    ("confirmed", ["rejected"], 0),
    ("confirmed", ["uncertain"], 0),
    ("confirmed", ["late"], 0),
    ("confirmed", ["late", "confirmed"], 1),
    ("confirmed", ["late", "rejected"], 0),
    (None, ["confirmed"], 1),
    (None, ["rejected"], 0),
    (None, ["uncertain"], 1),
    (None, ["late"], 1),
    (None, ["refused"], 1),
    (None, ["refused", "rejected"], 1),
    (None, ["late", "confirmed"], 1),
    (None, ["late", "rejected"], 1),
    ("confirmed", ["refused"], 0),
    ("confirmed", ["refused", "confirmed"], 1),
    ("unless_rejected", ["confirmed"], 1),
    ("unless_rejected", ["rejected"], 0),
    ("unless_rejected", ["uncertain"], 1),
    ("unless_rejected", ["late"], 1),
    ("unless_rejected", ["late", "confirmed"], 1),
    ("unless_rejected", ["late", "uncertain"], 1),
    ("unless_rejected", ["late", "rejected"], 1),
    ("start", [], 1),
    ("start", ["confirmed"], 1),
    ("start", ["rejected"], 1),
    ("start", ["late", "confirmed"], 1),
]


@pytest.mark.parametrize(("alert", "reports", "count"), ALERTS)
@pytest.mark.parametrize("ended", [False, True])
def test_an_incident_has_one_alert_by_its_rule(alert: str | None, reports: list[str], count: int, ended: bool) -> None:
    watch = Watch(rule("enter", zone="door", verify="Is somebody there?", alert=alert)).for_s(2, "a").for_s(3 * ended)
    begun = watch.of(Incident)[0]
    assert len(watch.of(Alert)) == (alert == "start")
    for one in reports:
        if one == "late":
            watch.until(61)
        elif one == "refused":
            watch.incidents.verifications.refused(begun.incident)
        else:
            watch.verdict(verdict(begun.incident, one))
    alerts = watch.for_s(5).of(Alert)
    assert len(alerts) == count
    for raised in alerts:
        assert raised.incident == begun.incident and raised.objects == begun.objects
        first = next((s for s in reports if alert != "confirmed" or s == "confirmed"), "")
        reply = "unverified" if first in ("late", "refused") else first
        assert raised.verification == ("pending" if alert == "start" else reply)
    if reports and reports != ["refused"]:
        # The last report is published, also after the alert.
        assert watch.of(Incident)[-1].verification == reports[-1].replace("late", "unverified")


def test_without_verification_an_alert_is_at_the_start_or_not_at_all() -> None:
    assert len(Watch(rule("enter", zone="door", alert="start")).for_s(2, "a").for_s(5).of(Alert)) == 1
    assert Watch(ENTER).for_s(2, "a").for_s(5).until(10_000).of(Alert) == []


def test_a_time_repeated_after_a_clock_is_set_back_is_another_incident() -> None:
    watch = Watch(rule("count", under=1)).for_s(0.5, "")
    watch.incidents.reset()
    watch.tick = 0
    watch.for_s(0.5, "")
    begun = [i for i in watch.of(Incident) if i.state == "start"]
    assert begun[0].start == begun[1].start and begun[0].incident != begun[1].incident


def test_overdue_incidents_make_room_for_pending_ones() -> None:
    watch = Watch(rule("enter", zone="door", verify="Is someone there?"))
    watch.for_s(1, *(f"a{k}" for k in range(60))).until(1000).for_s(3)
    for n in range(2):
        watch.for_s(1, *(f"{n}-{k}" for k in range(90))).for_s(3)
    waiting = [a for a in watch.incidents.state.pending.values() if not a.unverified]
    assert len(waiting) == 180 and len(watch.incidents.state.pending) == 200


def test_removed_rules_end_their_incidents_and_others_continue() -> None:
    watch = Watch(RULE_WITH_QUESTION).for_s(2, "a")
    id = watch.of(Incident)[0].incident
    watch.incidents.end_all(keep={"r"})
    watch.incidents.forget({"r"})
    assert watch.for_s(1, "a").states() == [("start", 0.0)]
    watch.incidents.end_all(keep={"other"})
    watch.incidents.forget({"other"})
    assert watch.verdict(verdict(id, "confirmed")).states()[1:] == [("end", 2.75), ("update", 2.75)]
    assert watch.of(Incident)[-1].end == START + 2.75 * SECOND and len(watch.of(Alert)) == 1
    assert watch.incidents.state.by_rule == {} and watch.until(10_000).states()[3:] == []
