"""Incidents that only the second pass has found: they last, are verified and become alerts as all others do. Pure.

late = LateIncidents("lobby", verify_s=600, state)
outs = late.tell(events, rule, evidence, at)        # what there is to say of it so far
outs = late.more(event)                             # its updates and its end
outs = late.verdict(said)
"""

from __future__ import annotations

from collections.abc import Sequence

from services.analytics import statements
from services.analytics.incidents import Incidents, IncidentsState, Ref, replace
from services.analytics.second_pass.state import TUNING, LateState, second_pass_out
from services.analytics.statements import Outs
from shared.contract.events import Incident, Verdict
from shared.contract.rules import Rule


class LateIncidents:
    """See the module."""

    def __init__(self, camera: str, verify_s: float, state: LateState) -> None:
        self.state = state
        self._camera = camera
        self._incidents = Incidents(camera, verify_s, IncidentsState(asked=state.asked))

    def __bool__(self) -> bool:
        """Whether there is anything to remember."""
        return bool(self.state.asked or self.state.lasting)

    def tell(self, events: Sequence[Incident], rule: Rule | None, evidence: Sequence[Ref], at: float) -> Outs:
        """Say what is so far known of an incident, the first time. rule: None where there is none any more.

        evidence: the segments that it names. at: now, by the log's clock.
        """
        begun, *more = events
        first = replace(begun, late=True, verification="pending" if rule and rule.verify else "none")
        self.state.lasting[first.incident] = first
        if rule is None:
            outs = self._said([first], "late")
        else:
            self._incidents.tell(rule, first, evidence, at)
            outs = self._taken("late")
        for event in more:
            outs += self.more(event)
        if said := self.state.early.pop(first.incident, None):
            outs += self.verdict(said)
        return outs

    def more(self, event: Incident) -> Outs:
        """Say what comes after an incident's start; nothing, where it was not told here."""
        known = self.state.lasting.get(event.incident)
        if known is None:
            return []
        told = replace(
            event, late=True, verification=known.verification, confidence=known.confidence, reason=known.reason
        )
        if asked := self.state.asked.get(event.incident):
            asked.incident = told
        self.state.lasting[event.incident] = told
        if told.state == "end":
            del self.state.lasting[event.incident]
        return self._said([told], "late")

    def end_all(self) -> Outs:
        """What lasts has ended when it was last seen."""
        lasting = list(self.state.lasting.values())
        return [out for known in lasting for out in self.more(replace(known, state="end", end=known.time))]

    def has(self, incident: str) -> bool:
        return incident in self.state.asked

    def verdict(self, said: Verdict, *, wait: bool = False) -> Outs:
        """A model has answered. wait: keep the answer where its incident is not told yet."""
        if wait and not self.has(said.incident):
            self.state.early[said.incident] = said
            while len(self.state.early) > TUNING.most_early:
                del self.state.early[next(iter(self.state.early))]
            return []
        self._incidents.verdict(said)
        return self._taken("verdict")

    def refused(self, incident: str) -> Outs:
        """VLM did not take the question about an incident."""
        self._incidents.refused(incident)
        return self._taken("refused")

    def deadline(self) -> float | None:
        """When a verdict is overdue, by the log's clock."""
        return self._incidents.deadline()

    def due(self, at: float) -> Outs:
        self._incidents.due(at)
        return self._taken("overdue")

    def _taken(self, cause: str) -> Outs:
        new = self._incidents.take()
        for what in new:
            if type(what) is Incident and what.incident in self.state.lasting:
                self.state.lasting[what.incident] = what
        return self._said(new, cause)

    def _said(self, new: Sequence[object], cause: str) -> Outs:
        return [second_pass_out(out) for out in statements.incidents(self._camera, new, cause)]  # type: ignore[arg-type]
