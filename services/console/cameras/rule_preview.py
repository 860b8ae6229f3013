"""The incidents that rules would have raised in the last hour: a child process tracks the detections again."""

from __future__ import annotations

import datetime as dt
from typing import Literal

import msgspec

from services.console.links.child import ChildFailed, Question, ask_child
from services.console.links.log_walk import walk
from services.console.web.alike import alike
from services.console.web.concurrency_limit import ConcurrencyLimit
from services.console.web.refused import Refused
from services.console.web.wrong_parts import WrongPart
from shared.bus.client import Connection
from shared.bus.log import Log
from shared.contract import names
from shared.contract.deadletters import REPLAY_FOR
from shared.contract.events import Detections, Incident
from shared.contract.questions import preview
from shared.contract.questions.preview import Answer
from shared.contract.rules import Rules
from shared.runtime.errors import BadMessage

MODULE = "services.analytics.preview"
MOST_AT_ONCE = 2
MOST_INCIDENTS = 500
# Detections before the hour show which objects were there when it began.
_BEFORE = dt.timedelta(seconds=30)
_WITHIN_S = 120.0
_MOST_BYTES = 64 * 1024 * 1024


class PreviewedIncident(msgspec.Struct, frozen=True, kw_only=True):
    """An incident of the preview. end: None while it lasts. labels: of its objects. seq: of the MEDIA segment that
    shows it, at `time`.
    """

    rule: str
    condition: str
    severity: str
    start: dt.datetime
    end: dt.datetime | None
    time: dt.datetime
    seq: int
    labels: list[str]
    zone: str | None
    line: str | None
    direction: Literal["in", "out"] | None
    value: float | None


class Previewed(msgspec.Struct, frozen=True, kw_only=True):
    """incidents: the newest first, at most 500 of `total`. segments: of analysed video."""

    since: dt.datetime
    until: dt.datetime
    incidents: list[PreviewedIncident] = []
    total: int = 0
    tracks: int = 0
    segments: int = 0
    mistakes: list[WrongPart] = []


class RulePreviewer:
    """See the module. client: one that may read EVENTS."""

    def __init__(self, client: Connection) -> None:
        self._client = client
        self._limit = ConcurrencyLimit(MOST_AT_ONCE, "other rules are being tried just now: try again in a moment", 3)

    async def preview(self, camera: str, rules: Rules, past: dt.timedelta) -> Previewed:
        """Return the preview. Raises Refused if too many run or it fails; BusError, and what NATS raises."""
        until = dt.datetime.now(dt.UTC)
        with self._limit.slot():
            try:
                answer = await ask_child(
                    MODULE,
                    self._question(camera, rules, until - past, until),
                    within_s=_WITHIN_S,
                    most_bytes=_MOST_BYTES,
                    environment=("ANALYTICS_",),
                    codes=(0, 2),
                )
            except ChildFailed as e:
                raise Refused(503, f"these rules could not be tried: {e}") from e
        return _previewed(answer, until - past, until)

    async def _question(self, camera: str, rules: Rules, since: dt.datetime, until: dt.datetime) -> Question:
        yield preview.request(camera, rules, since, until)
        subject = names.event(Detections.kind, camera)
        async with Log(self._client, names.EVENTS) as log:
            async for message in walk(log, subject, since - _BEFORE):
                if message.time > until:
                    break
                if REPLAY_FOR not in message.headers:
                    yield preview.detections(message.seq, message.time, message.data)
        yield preview.end(until)


def _previewed(text: bytes, since: dt.datetime, until: dt.datetime) -> Previewed:
    last: dict[str, Incident] = {}
    sums = Answer()
    for line in text.splitlines():
        try:
            answer = preview.answer(line)
        except BadMessage:
            continue
        if answer.error:
            raise Refused(422, answer.error)
        if answer.mistakes:
            wrong = [WrongPart(path=m.path, text=m.text) for m in answer.mistakes]
            return Previewed(since=since, until=until, mistakes=wrong)
        if answer.incident:
            last[answer.incident.incident] = answer.incident
        if answer.segments is not None:
            sums = answer
    newest = sorted((i for i in last.values() if not i.not_found), key=lambda i: i.start, reverse=True)
    return Previewed(
        since=since,
        until=until,
        incidents=[_incident(i) for i in newest[:MOST_INCIDENTS]],
        total=len(newest),
        tracks=sums.tracks or 0,
        segments=sums.segments or 0,
    )


def _incident(incident: Incident) -> PreviewedIncident:
    labels = sorted({o.label for o in incident.objects})
    return alike(PreviewedIncident, incident, time=incident.snapshot.time, seq=incident.snapshot.seq, labels=labels)
