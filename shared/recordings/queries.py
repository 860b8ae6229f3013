"""Requests to `svc.recording` and the subjects below it, and their answers. Pure.

    {"camera": "lobby", "since": "2026-11-29T10:00:00Z", "until": "2026-11-29T10:05:00Z"}

`svc.recording` answers with the groups of pictures that show a time range, and with the times without video and their
causes. `svc.recording.video` returns their bytes: after the `init` bytes of the first, they are one fragmented MP4.
`svc.recording.hours` returns a camera's totals, hour by hour.
"""

from __future__ import annotations

import datetime as dt
from typing import Annotated

import msgspec
from msgspec import Meta

from shared.contract.names import Token
from shared.recordings.playing import Play
from shared.recordings.policy import EffectivePolicy
from shared.recordings.records import Count, Hole, HourTotals, check_times

# The longest range, and the most groups in an answer.
LONGEST = dt.timedelta(hours=24)
MOST = 4000
# The header with the total bytes of the requested data.
SIZE = "Recording-Size"


class RangeRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """since, until: times with a zone. skip: how many groups the client already has."""

    camera: Token
    since: Annotated[dt.datetime, Meta(tz=True)]
    until: Annotated[dt.datetime, Meta(tz=True)]
    skip: Count = 0

    def __post_init__(self) -> None:
        check_times(self.since, self.until)


class RangeAnswer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """plays: groups of pictures, by time. holes: times without video. more: whether more groups follow."""

    camera: Token
    plays: list[Play]
    holes: list[Hole]
    more: bool = False


class VideoRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Bytes begin:end of a file that a range names, as stored; or moved by `ticks`, if they are a group's.

    An answer may be shorter: request the rest with `offset`.
    """

    camera: Token
    file: Annotated[str, Meta(min_length=1, max_length=300)]
    begin: Count
    end: Count
    ticks: Annotated[int, Meta(ge=-(2**62), le=2**62)] | None = None
    sequence: Annotated[int, Meta(ge=1, le=2**32 - 1)] = 1
    offset: Count = 0


class HoursRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """camera: None requests the totals of all cameras. day: by UTC; lists the files and holes of one camera."""

    camera: Token | None = None
    day: dt.date | None = None

    def __post_init__(self) -> None:
        if self.day is not None:
            check_times(self.since)
            if self.camera is None:
                raise ValueError("files are named of one camera: give it, too")

    @property
    def since(self) -> dt.datetime:
        """When the day begins."""
        return dt.datetime.combine(self.day or dt.date.min, dt.time(), dt.UTC)


class ListedFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file. key: below RECORDER_STORE. size: bytes. incident: whether one is in it, or next to it.

    goes: when it expires by age; None: never. keyframes: whether it has keyframes alone.
    """

    key: str
    start: dt.datetime
    end: dt.datetime
    size: Count
    incident: bool
    goes: dt.datetime | None
    keyframes: bool = False


class RecordingTotals(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A camera's recordings. hours: by time, of which the last may not be over; empty in all cameras' totals.

    seconds: of video. size: bytes. lost: seconds without video, by cause. first, last: of the recordings. policy: the
    effective policy. goes: when its oldest video expires by age; None: never, or there is none. files: those that begin
    on the requested day. holes: those that touch it.
    """

    camera: Token
    seconds: float = 0.0
    size: Count = 0
    lost: dict[str, float] = {}
    first: dt.datetime | None = None
    last: dt.datetime | None = None
    policy: EffectivePolicy = msgspec.field(name="kept")
    goes: dt.datetime | None = None
    hours: list[HourTotals] = []
    files: list[ListedFile] = []
    holes: list[Hole] = []


class TotalsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    cameras: list[RecordingTotals]
