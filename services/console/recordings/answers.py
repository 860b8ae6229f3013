"""The API's answers about recordings. Pure."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import msgspec

from services.console.web.alike import alike
from shared.recordings.playing import Play
from shared.recordings.queries import RangeAnswer, RecordingTotals
from shared.recordings.records import Cause

# Groups that are nearer to each other form one stretch: times are rounded to milliseconds.
_APART = dt.timedelta(milliseconds=500)


class RecordedCamera(msgspec.Struct, frozen=True, kw_only=True):
    """The recordings of a camera. seconds: of video. bytes: of files. lost: seconds without video, by cause.

    since, until: of the recordings; null: there are none. goes: when the oldest video expires; null: never. record,
    rest, keep_days, hold: the policy.
    """

    camera: str
    seconds: float
    bytes: int
    lost: dict[str, float]
    since: dt.datetime | None
    until: dt.datetime | None
    goes: dt.datetime | None
    record: str
    rest: str
    keep_days: float
    hold: bool = msgspec.field(name="held")


class RecordedCameras(msgspec.Struct, frozen=True, kw_only=True):
    cameras: list[RecordedCamera]


class RecordedHour(msgspec.Struct, frozen=True, kw_only=True):
    """An hour of recordings. incident: whether it has one."""

    hour: dt.datetime
    seconds: float
    bytes: int
    lost: dict[str, float]
    incident: bool


class RecordedHours(msgspec.Struct, frozen=True, kw_only=True):
    """hours: by time; the last may not be over."""

    of: RecordedCamera
    hours: list[RecordedHour]


class RecordedStretch(msgspec.Struct, frozen=True, kw_only=True):
    """A time with complete video."""

    since: dt.datetime
    until: dt.datetime


class RecordedGap(msgspec.Struct, frozen=True, kw_only=True):
    """A time without video, and its cause. segments: how many are known to be missing."""

    since: dt.datetime
    until: dt.datetime
    cause: Cause
    segments: int


class RecordedTime(msgspec.Struct, frozen=True, kw_only=True):
    """The video of a time, recorded or still to be recorded, and its gaps."""

    camera: str
    stretches: list[RecordedStretch]
    gaps: list[RecordedGap]


def camera(total: RecordingTotals) -> RecordedCamera:
    policy = {name: getattr(total.policy, name) for name in ("record", "rest", "keep_days", "hold")}
    return alike(RecordedCamera, total, bytes=total.size, since=total.first, until=total.last, **policy)


def hours(total: RecordingTotals) -> RecordedHours:
    return RecordedHours(
        of=camera(total),
        hours=[alike(RecordedHour, one, bytes=one.size) for one in total.hours],
    )


def time(found: RangeAnswer) -> RecordedTime:
    return RecordedTime(
        camera=found.camera,
        stretches=stretches(found.plays),
        gaps=[alike(RecordedGap, hole) for hole in found.holes],
    )


def stretches(plays: Sequence[Play]) -> list[RecordedStretch]:
    """Merge adjacent groups."""
    row: list[RecordedStretch] = []
    for play in sorted(plays, key=lambda one: one.start):
        if row and play.start - row[-1].until <= _APART:
            row[-1] = RecordedStretch(since=row[-1].since, until=max(row[-1].until, play.until))
        else:
            row.append(RecordedStretch(since=play.start, until=play.until))
    return row
