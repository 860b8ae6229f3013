"""Verification of incidents by a vision language model, and the alerts that follow. Pure.

Example:
    verifications = Verifications(600, pending, lasting)
    verifications.announce(rule, incident, evidence, at)
    verifications.verdict(verdict)
    verifications.due(at)
    verifications.take()            # new events, alerts and requests
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from msgspec.structs import replace

from services.analytics.incidents.state import Open, PendingVerification, Ref
from services.analytics.tracking.objects import instant
from shared.contract.events import Alert, Incident, Verdict
from shared.contract.rules import Rule
from shared.contract.work import jobs

# A model receives at most this many segments.
MAX_MODEL_SEGMENTS = 12
# At most this many incidents of a camera wait for a verdict; no more are requested.
MAX_WAITING = 200
# A verdict still counts for this long after its deadline: VLM keeps jobs equally long.
VERDICT_GRACE_S = 3600.0

_ALERTING = {
    "confirmed": ("confirmed",),
    "unless_rejected": ("confirmed", "uncertain", "unverified"),
    "start": (),
}


class Verifications:
    """See the module. pending: by the incident's id. lasting: returns an incident that still lasts, by its id.

    out: new incidents, alerts and verification requests.
    """

    def __init__(
        self,
        verify_s: float,
        pending: dict[str, PendingVerification],
        lasting: Callable[[str], Open | None] = lambda id: None,
    ) -> None:
        self.pending = pending
        self.out: list[Incident | jobs.Verify] = []
        self._verify_s = verify_s
        self._lasting = lasting

    def take(self) -> list[Incident | jobs.Verify]:
        """Return the new incidents, alerts and verification requests since the last call."""
        out, self.out = self.out, []
        return out

    def announce(self, rule: Rule, incident: Incident, evidence: Sequence[Ref], at: float) -> None:
        """Publish that an incident has begun; request verification and alert, as its rule says. at: the log's clock."""
        id = incident.incident
        pending = PendingVerification(incident, at + self._verify_s, rule.alerts)
        may_ask = rule.verify is not None and self._has_room()
        if rule.verify is not None and may_ask:
            self.pending[id] = pending
            # The request comes first: an incident that has begun is known to have been requested.
            self.out.append(_verify(rule, incident, rule.verify, evidence))
        self.out.append(incident)
        if rule.alert == "start":
            self._alert(incident)
        if rule.verify is not None and not may_ask:
            # One more request would wait behind those, and take the room of other cameras' requests.
            self._judge(pending, "unverified", reason=f"{MAX_WAITING} others wait for a verdict")

    def _has_room(self) -> bool:
        """Whether one more may wait for a verdict. Those whose deadline has passed give way."""
        while len(self.pending) >= MAX_WAITING:
            overdue = next((id for id, pending in self.pending.items() if pending.unverified), None)
            if overdue is None:
                return False
            del self.pending[overdue]
        return True

    def verdict(self, verdict: Verdict) -> None:
        """Add the model's verdict to its incident, whether that still lasts or not."""
        pending = self.pending.pop(verdict.incident, None)
        if pending:
            self._judge(pending, verdict.verdict, confidence=verdict.confidence, reason=verdict.reason)

    def refused(self, incident: str) -> None:
        """Mark an incident unverified: the model can't answer."""
        pending = self.pending.get(incident)
        if pending and not pending.unverified:
            pending.unverified = True
            self._judge(pending, "unverified", reason="vlm takes no more questions")

    def deadline(self) -> float | None:
        """Return when the next verdict becomes overdue, or finally expires, by the log's clock."""
        return min((a.deadline + VERDICT_GRACE_S * a.unverified for a in self.pending.values()), default=None)

    def due(self, at: float) -> None:
        """Mark incidents without a verdict by their deadline as unverified.

        A later verdict still counts for VERDICT_GRACE_S.
        """
        for id, pending in list(self.pending.items()):
            if pending.unverified and pending.deadline + VERDICT_GRACE_S <= at:
                del self.pending[id]
            elif not pending.unverified and pending.deadline <= at:
                pending.unverified = True
                self._judge(pending, "unverified", reason=f"no verdict within {self._verify_s:g} s")

    def _judge(self, pending: PendingVerification, verification: Any, **more: Any) -> None:
        """Publish the verification in an update, and in all later events of the incident."""
        lasting = self._lasting(pending.incident.incident)
        current = lasting.incident if lasting else pending.incident
        judged = replace(current, state="update", verification=verification, **more)
        if lasting:
            lasting.incident = judged
        self.out.append(judged)
        pending.incident = judged
        if verification in _ALERTING[pending.alert] and not pending.alerted:
            pending.alerted = True
            self._alert(judged)

    def _alert(self, incident: Incident) -> None:
        fields = {f: getattr(incident, f) for f in incident.__struct_fields__}
        self.out.append(Alert(**fields))


def _verify(rule: Rule, incident: Incident, prompt: str, evidence: Sequence[Ref]) -> jobs.Verify:
    count = min(MAX_MODEL_SEGMENTS, len(evidence))
    chosen = [evidence[round(i * (len(evidence) - 1) / max(1, count - 1))] for i in range(count)]
    return jobs.Verify(
        camera=incident.camera,
        incident=incident.incident,
        prompt=prompt,
        segments=[r.seq for r in chosen],
        rule=rule.id,
        start=instant(chosen[0].start),
        end=instant(max(chosen[-1].end, chosen[0].start + 0.001)),
    )
