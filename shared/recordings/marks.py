"""Finds the relevant times of a camera, and so which of its files stay. Pure.

    incidents = incident_spans(events, until)
    stays(file, activity, incidents, policy)

A file is a minute, and stays whole: retention never keeps less than the policy demands.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from shared.contract.events import Detections, Incident, Tracks
from shared.recordings.policy import EffectivePolicy
from shared.recordings.records import Recorded

# The shortest span: a single frame has a duration, too.
_LEAST = dt.timedelta(microseconds=1)


class Span(NamedTuple):
    """A relevant time."""

    since: dt.datetime
    until: dt.datetime

    def widen(self, policy: EffectivePolicy) -> Span:
        """Return the span with the policy's margins before and after it."""
        return Span(
            self.since - dt.timedelta(seconds=policy.before_s), self.until + dt.timedelta(seconds=policy.after_s)
        )

    def is_in(self, file: Recorded) -> bool:
        return self.since < file.end and max(self.until, self.since + _LEAST) > file.start


def object_spans(event: Detections, policy: EffectivePolicy) -> Iterator[Span]:
    """Yield the frames with relevant objects; none if nothing has changed in the picture."""
    if event.unchanged is not None:
        return
    for frame in event.frames:
        if any(not policy.labels or found.label in policy.labels for found in frame.objects):
            yield Span(frame.time, frame.time)


def track_spans(event: Tracks, policy: EffectivePolicy) -> Iterator[Span]:
    """Yield the times in which a relevant object moves in one of the zones."""
    for track in event.tracks:
        counts = not policy.labels or track.label in policy.labels
        if counts and not track.stationary and set(policy.zones).intersection(track.zones):
            times = [point.time for point in track.path] or [track.last]
            yield Span(min(times), max(times))


def incident_spans(events: Iterable[Incident], until: dt.datetime) -> list[Span]:
    """Return the span of each incident; to `until` if it has no end yet. False alarms are dropped."""
    spans: dict[str, Span] = {}
    false_alarms = set[str]()
    for event in events:
        before = spans.get(event.incident)
        ended = event.end or (event.time if event.state == "end" else None)
        spans[event.incident] = Span(min(event.start, before.since) if before else event.start, ended or until)
        if event.not_found:
            false_alarms.add(event.incident)
    return [span for incident, span in spans.items() if incident not in false_alarms]


def stays(file: Recorded, activity: Iterable[Span] | None, incidents: Iterable[Span], policy: EffectivePolicy) -> bool:
    """Return whether to retain a file. activity: None if its time was not analysed; then it stays."""
    if policy.hold or policy.record == "always":
        return True
    if policy.record != "never" and any(span.widen(policy).is_in(file) for span in incidents):
        return True
    if policy.record == "activity":
        return activity is None or any(span.widen(policy).is_in(file) for span in activity)
    return False
