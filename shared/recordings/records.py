"""Records of a camera's files, an index for each hour of them, and holes with their causes. Pure.

    recorded.at(time)                     # the group of pictures that shows it, as bytes begin:end of the file
    hour_key("lobby", hour)               # the key of an hour's index, so that nothing is ever listed

A file is one fragmented MP4 that any player takes. Its record says where each group of pictures is in it: an hour's
index gives the bytes that show any second.
"""

from __future__ import annotations

import datetime as dt
from bisect import bisect_right
from collections.abc import Iterable
from itertools import accumulate
from typing import Annotated, Literal, NamedTuple, TypeVar

import msgspec
from msgspec import Meta

from shared.contract.names import Token
from shared.contract.reading.bounds import EARLIEST, LATEST, in_time
from shared.runtime.errors import TidegateError

HOUR = dt.timedelta(hours=1)
# Suffix of an hour's index.
INDEX = "/index.json"
_MS = dt.timedelta(milliseconds=1)
_SECOND = dt.timedelta(seconds=1)
# Why there is no video. camera: it sent none. dropped: it never reached MEDIA, as ingest had no room for it. expired:
# MEDIA had dropped it before it was read. damaged: it could not be read. policy: it was not to be recorded.
# unmasked: its masks could not be applied.
Cause = Literal["camera", "dropped", "expired", "damaged", "policy", "unmasked"]
Count = Annotated[int, Meta(ge=0)]

# A time read from a store, where anything may be written by hand.
Time = Annotated[dt.datetime, Meta(tz=True)]

T = TypeVar("T", bound=msgspec.Struct)


class Unreadable(TidegateError):
    """An index or another object of the recordings can't be read."""


class Group(NamedTuple):
    """Bytes begin:end of a file, and the time that they show."""

    begin: int
    end: int
    start: dt.datetime
    until: dt.datetime


class Cut(msgspec.Struct, frozen=True, array_like=True):
    """A segment of a file: identifies the frames of one message, and the events about them.

    seq: in MEDIA. n: in its epoch. start_ms: after the file's start. ms: its duration. frames: how many it has.
    """

    seq: Count
    n: Count
    start_ms: int
    ms: Count
    frames: Count


class Recorded(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One file. key: in the store. start, end: what it shows, UTC. codec: in the words of RFC 6381.

    track: equal for files that one decoder can play in a row. timescale: ticks a second of its own clock. early: where
    the video begins on that clock. init, head: bytes of the decoder's parameters, and of everything before the first
    group. groups_ms: when each group of pictures begins, in milliseconds after `start`, the first at 0. sizes: bytes of
    each; they follow each other. first_seq, last_seq: in MEDIA. epoch, last_n: of its segments, and the last one's
    number there. segments: how many it has, and cuts: which. incident: whether one is in it or next to it. keyframes:
    whether it has keyframes alone, as the policy dropped the rest.
    """

    key: str
    start: Time
    end: Time
    codec: str
    width: Count
    height: Count
    track: str
    timescale: Annotated[int, Meta(gt=0)]
    early: Count
    init: Count
    head: Count
    groups_ms: tuple[Count, ...]
    sizes: tuple[Count, ...]
    first_seq: Count
    last_seq: Count
    epoch: Token
    last_n: Count
    segments: Count
    cuts: tuple[Cut, ...] = ()
    incident: bool = False
    keyframes: bool = False

    def __post_init__(self) -> None:
        if len(self.groups_ms) != len(self.sizes) or not self.sizes:
            raise ValueError("a file has as many groups of pictures as sizes of them, and one at least")
        check_times(self.start, self.end)
        if self.end < self.start or list(self.groups_ms) != sorted(self.groups_ms):
            raise ValueError("a file ends after its start, and its groups are in order")
        if self.groups_ms[-1] > (LATEST - EARLIEST) / _MS:
            raise ValueError("a group of pictures begins within its file")

    @property
    def size(self) -> int:
        return self.head + sum(self.sizes)

    @property
    def groups(self) -> list[Group]:
        ends = [*accumulate(self.sizes, initial=self.head)]
        starts = [self.start + ms * _MS for ms in self.groups_ms]
        return [Group(*row) for row in zip(ends[:-1], ends[1:], starts, [*starts[1:], self.end], strict=True)]

    def between(self, since: dt.datetime, until: dt.datetime) -> list[Group]:
        """Return the groups that overlap [since, until)."""
        return [group for group in self.groups if group.start < until and group.until > since]

    def at(self, time: dt.datetime) -> Group:
        """Return the group that shows a time, or the one nearest to it."""
        n = bisect_right(self.groups_ms, (time - self.start) / _MS) - 1
        return self.groups[max(0, n)]


class Hole(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A time without video. segments: how many are missing, if that is known."""

    since: Time
    until: Time
    cause: Cause
    segments: Count = 0

    def __post_init__(self) -> None:
        check_times(self.since, self.until)


class Hour(msgspec.Struct, frozen=True, kw_only=True):
    """The index of an hour: a camera's files and holes that begin in it, in order."""

    camera: Token
    hour: Time
    files: tuple[Recorded, ...] = ()
    holes: tuple[Hole, ...] = ()

    def __post_init__(self) -> None:
        check_times(self.hour)


class HourTotals(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The totals of one hour. seconds: of video. size: bytes. lost: seconds without video, by cause.

    policy_applied: whether the policy was applied to it. incident: whether it has any.
    """

    hour: Time
    seconds: float
    size: Count
    files: Count
    lost: dict[str, float] = {}
    policy_applied: bool = msgspec.field(default=False, name="settled")
    incident: bool = False

    def __post_init__(self) -> None:
        check_times(self.hour)

    @classmethod
    def of(cls, hour: Hour, *, policy_applied: bool = False) -> HourTotals:
        lost: dict[str, float] = {}
        for hole in hour.holes:
            lost[hole.cause] = round(lost.get(hole.cause, 0.0) + (hole.until - hole.since) / _SECOND, 3)
        return cls(
            hour=hour.hour,
            seconds=round(sum((file.end - file.start) / _SECOND for file in hour.files), 3),
            size=sum(file.size for file in hour.files),
            files=len(hour.files),
            lost=lost,
            policy_applied=policy_applied,
            incident=any(file.incident for file in hour.files),
        )

    def with_more(self, more: HourTotals) -> HourTotals:
        """Return the sum of both, of one hour."""
        causes = self.lost.keys() | more.lost.keys()
        return msgspec.structs.replace(
            self,
            seconds=self.seconds + more.seconds,
            size=self.size + more.size,
            files=self.files + more.files,
            lost={cause: self.lost.get(cause, 0.0) + more.lost.get(cause, 0.0) for cause in causes},
            incident=self.incident or more.incident,
        )


class Catalogue(msgspec.Struct, frozen=True, kw_only=True):
    """The closed hours of a camera, by time."""

    camera: Token
    hours: tuple[HourTotals, ...] = ()

    def having(self, *sums: HourTotals) -> Catalogue:
        """Return the catalogue with these in place of those of the same hours."""
        hours = {one.hour: one for one in (*self.hours, *sums)}
        return msgspec.structs.replace(self, hours=tuple(hours[hour] for hour in sorted(hours)))

    def adding(self, one: HourTotals) -> Catalogue:
        """Return the catalogue with more of an hour, which may be here partially."""
        here = next((h for h in self.hours if h.hour == one.hour), None)
        return self.having(here.with_more(one) if here else one)

    def without(self, hour: dt.datetime) -> Catalogue:
        return msgspec.structs.replace(self, hours=tuple(one for one in self.hours if one.hour != hour))


def check_times(*times: dt.datetime) -> None:
    """Raise ValueError for a time that no clock may show."""
    if not all(map(in_time, times)):
        raise ValueError(f"times are from {EARLIEST:%Y} to {LATEST:%Y}")


def hour_of(time: dt.datetime) -> dt.datetime:
    """Return the hour of a time, UTC."""
    return time.astimezone(dt.UTC).replace(minute=0, second=0, microsecond=0)


def hours_of(since: dt.datetime, until: dt.datetime, longest: dt.timedelta) -> list[dt.datetime]:
    """Return the hours whose files may overlap [since, until). longest: of a file, which belongs to its first hour."""
    first, last = hour_of(since - longest), hour_of(until)
    return [first + n * HOUR for n in range((last - first) // HOUR + 1)]


def folder_of(camera: str, hour: dt.datetime) -> str:
    """Return the folder of an hour's files, without a trailing slash."""
    return f"{camera}/{hour:%Y-%m-%d}/{hour:%H}"


def hour_key(camera: str, hour: dt.datetime) -> str:
    """Return the key of an hour's index."""
    return f"{folder_of(camera, hour)}{INDEX}"


def catalogue_key(camera: str) -> str:
    """Return the key of a camera's catalogue."""
    return f"{camera}/hours.json"


def file_key(camera: str, start: dt.datetime, token: str) -> str:
    """Return the key of a file that begins at `start`. token: unique to this try to write it."""
    return f"{folder_of(camera, hour_of(start))}/{start.astimezone(dt.UTC):%M%S}-{token}.mp4"


def encode(index: Hour | Catalogue) -> bytes:
    return msgspec.json.encode(index)


def decode(data: bytes, kind: type[T]) -> T:
    """Decode an object of the store. Raises Unreadable."""
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        raise Unreadable(str(e)) from e


def covered(files: Iterable[Recorded], since: dt.datetime, until: dt.datetime) -> dt.timedelta:
    """Return how much of [since, until) the files show; they must not overlap."""
    parts = (min(until, file.end) - max(since, file.start) for file in files)
    return sum((part for part in parts if part > dt.timedelta()), dt.timedelta())
