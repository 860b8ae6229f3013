"""Late incidents, found only by the second pass: they last, are verified and become alerts like others. Pure.

Example:
    late = LateIncidents("lobby", verify_s=600, state)
    outs = late.announce(events, rule, evidence, at)    # its events so far
    outs = late.follow_up(event)                        # its updates and its end
    outs = late.verdict(verdict)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec.structs import replace

from services.analytics.camera import statements
from services.analytics.camera.statements import Out, Outs
from services.analytics.incidents.state import Ref
from services.analytics.incidents.verification import Verifications
from services.analytics.second_pass.state import MAX_EARLY_VERDICTS, LateState, second_pass_id
from shared.contract.events import Incident, Verdict
from shared.contract.rules import Rule
from shared.contract.work import jobs


class LateIncidents:
    """See the module."""

    def __init__(self, camera: str, verify_s: float, state: LateState) -> None:
        self.state = state
        self._camera = camera
        self._verifications = Verifications(verify_s, state.pending)

    def __bool__(self) -> bool:
        """Whether there is anything to remember."""
        return bool(self.state.pending or self.state.lasting)

    def announce(self, events: Sequence[Incident], rule: Rule | None, evidence: Sequence[Ref], at: float) -> Outs:
        """Publish an incident's events so far, for the first time. rule: None if it was removed.

        evidence: the segments that it names. at: now, by the log's clock.
        """
        start, *others = events
        first = replace(start, late=True, verification="pending" if rule and rule.verify else "none")
        self.state.lasting[first.incident] = first
        if rule is None:
            outs = self._outs([first], "late")
        else:
            self._verifications.announce(rule, first, evidence, at)
            outs = self._take("late")
        for event in others:
            outs += self.follow_up(event)
        if verdict := self.state.early.pop(first.incident, None):
            outs += self.verdict(verdict)
        return outs

    def follow_up(self, event: Incident) -> Outs:
        """Publish an event after an incident's start; nothing, if it was not announced here."""
        latest = self.state.lasting.get(event.incident)
        if latest is None:
            return []
        update = replace(
            event, late=True, verification=latest.verification, confidence=latest.confidence, reason=latest.reason
        )
        if pending := self.state.pending.get(event.incident):
            pending.incident = update
        self.state.lasting[event.incident] = update
        if update.state == "end":
            del self.state.lasting[event.incident]
        return self._outs([update], "late")

    def end_all(self) -> Outs:
        """End lasting incidents at the time when they were last seen."""
        lasting = list(self.state.lasting.values())
        return [out for latest in lasting for out in self.follow_up(replace(latest, state="end", end=latest.time))]

    def has(self, incident: str) -> bool:
        return incident in self.state.pending

    def verdict(self, verdict: Verdict, *, wait: bool = False) -> Outs:
        """Apply a model's verdict. wait: store it if its incident is not announced yet."""
        if wait and not self.has(verdict.incident):
            self.state.early[verdict.incident] = verdict
            while len(self.state.early) > MAX_EARLY_VERDICTS:
                del self.state.early[next(iter(self.state.early))]
            return []
        self._verifications.verdict(verdict)
        return self._take("verdict")

    def refused(self, incident: str) -> Outs:
        """Mark an incident unverified: VLM did not take its request."""
        self._verifications.refused(incident)
        return self._take("refused")

    def deadline(self) -> float | None:
        """Return when a verdict becomes overdue, by the log's clock."""
        return self._verifications.deadline()

    def due(self, at: float) -> Outs:
        self._verifications.due(at)
        return self._take("overdue")

    def _take(self, cause: str) -> Outs:
        new = self._verifications.take()
        for what in new:
            if type(what) is Incident and what.incident in self.state.lasting:
                self.state.lasting[what.incident] = what
        return self._outs(new, cause)

    def _outs(self, new: Iterable[Incident | jobs.Verify], cause: str) -> Outs:
        return [Out(what, second_pass_id(id)) for what, id in statements.incidents(self._camera, new, cause)]
