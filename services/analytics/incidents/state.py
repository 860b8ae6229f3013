"""State of a camera's incidents to restore after a restart: true rules, by rule and key, and pending verdicts."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from shared.contract.events import Incident, IncidentObject, SegmentRef

# Of a rule and a key; see `lifecycle`.
Phase: TypeAlias = Literal["absent", "holding", "suppressed", "lasting"]


class Ref(msgspec.Struct, array_like=True):
    """A segment that was analysed. start, end: Unix seconds."""

    stream: str
    seq: int
    epoch: str
    n: int
    start: float
    end: float

    @property
    def segment(self) -> SegmentRef:
        return SegmentRef(stream=self.stream, seq=self.seq, epoch=self.epoch, n=self.n)


class ReportedCase(msgspec.Struct):
    """A case, in the form that events report."""

    objects: list[IncidentObject]
    value: float | None
    direction: Literal["in", "out"] | None


class Open(msgspec.Struct):
    """A lasting incident. last_event_time: of its last event. joined: whether more objects have joined since."""

    incident: Incident
    last_event_time: float = msgspec.field(name="told")
    joined: bool = False


class Standing(msgspec.Struct):
    """A rule that is true for a key. since, last: when it became true and was last true, Unix seconds of video.

    case: the case at `last`. is_suppressed: whether it is counted as suppressed. open: the incident, once it has begun.
    """

    since: float
    last: float
    case: ReportedCase = msgspec.field(name="found")
    is_suppressed: bool = msgspec.field(default=False, name="kept_back")
    open: Open | None = None

    @property
    def phase(self) -> Phase:
        return "lasting" if self.open else "suppressed" if self.is_suppressed else "holding"


class RuleState(msgspec.Struct):
    """The state of a rule. last_start: when its last incident began. about: its kind, and its zone or line."""

    standing: dict[str, Standing] = {}
    last_start: float | None = msgspec.field(default=None, name="begun")
    about: str = ""


class PendingVerification(msgspec.Struct):
    """An incident whose verification was requested. deadline: by the log's clock. alert: when it becomes one.

    unverified: whether the deadline has passed. alerted: whether it has been an alert.
    """

    incident: Incident
    deadline: float
    alert: str
    unverified: bool = False
    alerted: bool = False


class IncidentsState(msgspec.Struct):
    """The incidents' state of a camera. by_rule: by the rule's id. pending: by the incident's id.

    set_backs: number of times that its clock was set back.
    """

    by_rule: dict[str, RuleState] = {}
    pending: dict[str, PendingVerification] = msgspec.field(default_factory=dict, name="asked")
    set_backs: int = 0
