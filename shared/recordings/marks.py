"""What of a camera's time counts, and so which of its files stay. Pure.

    row = marks(seen, incidents, kept)
    stays(file, row, kept, looked)

A file is a minute, and stays whole: what is kept is never less than what a policy asks for.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from shared.contract.events import Detections, Incident, Tracks
from shared.recordings.policy import Kept
from shared.recordings.records import Recorded

# A frame is shown for a while, too.
_LEAST = dt.timedelta(microseconds=1)


class Span(NamedTuple):
    """A time that counts."""

    since: dt.datetime
    until: dt.datetime

    def widened(self, kept: Kept) -> Span:
        """With the video before and after it that is wanted, too."""
        return Span(self.since - dt.timedelta(seconds=kept.before_s), self.until + dt.timedelta(seconds=kept.after_s))

    def is_in(self, file: Recorded) -> bool:
        return self.since < file.end and max(self.until, self.since + _LEAST) > file.start


def seen_in(event: Detections, kept: Kept) -> Iterator[Span]:
    """The frames in which something is that counts; none where nothing has changed in the picture."""
    if event.unchanged is not None:
        return
    for frame in event.frames:
        if any(not kept.labels or found.label in kept.labels for found in frame.objects):
            yield Span(frame.time, frame.time)


def followed_in(event: Tracks, kept: Kept) -> Iterator[Span]:
    """The times in which something moves in a zone that counts."""
    for track in event.tracks:
        counts = not kept.labels or track.label in kept.labels
        if counts and not track.stationary and set(kept.zones).intersection(track.zones):
            times = [point.time for point in track.path] or [track.last]
            yield Span(min(times), max(times))


def of_incidents(events: Iterable[Incident], until: dt.datetime) -> list[Span]:
    """From the beginning of each to its end; to `until` where it has none yet. False alarms are none."""
    spans: dict[str, Span] = {}
    gone = set[str]()
    for event in events:
        before = spans.get(event.incident)
        ended = event.end or (event.time if event.state == "end" else None)
        spans[event.incident] = Span(min(event.start, before.since) if before else event.start, ended or until)
        if event.not_found:
            gone.add(event.incident)
    return [span for incident, span in spans.items() if incident not in gone]


def stays(file: Recorded, activity: Iterable[Span] | None, incidents: Iterable[Span], kept: Kept) -> bool:
    """Whether a file is kept. activity: None where nobody has looked at its time: then it stays."""
    if kept.hold or kept.record == "always":
        return True
    if kept.record != "never" and any(span.widened(kept).is_in(file) for span in incidents):
        return True
    if kept.record == "activity":
        return activity is None or any(span.widened(kept).is_in(file) for span in activity)
    return False
