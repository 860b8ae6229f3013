"""What is recorded of a camera: its files, an index for each hour of them, and holes with their causes. Pure.

    recorded.at(time)                     # the group of pictures that shows it, as bytes begin:end of the file
    hour_key("lobby", hour)               # where the index of an hour is, so that nothing is ever listed

A file is one fragmented MP4 that any player takes. Its record says where each group of pictures is in it: who has read
an hour's index knows for each second which bytes show it.
"""

from __future__ import annotations

import datetime as dt
from bisect import bisect_right
from collections.abc import Iterable
from itertools import accumulate
from typing import Annotated, Literal, NamedTuple, TypeVar

import msgspec
from msgspec import Meta

from shared.contract.bounds import EARLIEST, LATEST, in_time
from shared.contract.names import Token
from shared.runtime.errors import TidegateError

HOUR = dt.timedelta(hours=1)
# What ends the name of an hour's index.
INDEX = "/index.json"
_MS = dt.timedelta(milliseconds=1)
_SECOND = dt.timedelta(seconds=1)
# Why there is no video. camera: it sent none. dropped: it never came to MEDIA, as ingest had no room for it. expired:
# MEDIA had let it go before it was read. damaged: it could not be read. policy: it was not to be recorded.
# unmasked: what is to be black in it could not be made so.
Cause = Literal["camera", "dropped", "expired", "damaged", "policy", "unmasked"]
Count = Annotated[int, Meta(ge=0)]

# As they come out of a store, where anything may be written by hand.
Time = Annotated[dt.datetime, Meta(tz=True)]

T = TypeVar("T", bound=msgspec.Struct)


class Unreadable(TidegateError):
    """What should say what is recorded does not."""


class Group(NamedTuple):
    """Bytes begin:end of a file, and what they show."""

    begin: int
    end: int
    start: dt.datetime
    until: dt.datetime


class Cut(msgspec.Struct, frozen=True, array_like=True):
    """A segment that is in a file: what tells which frames of it were one message, and which events are about them.

    seq: in MEDIA. n: in its epoch. start_ms: after the file's start. ms: its duration. frames: how many it has.
    """

    seq: Count
    n: Count
    start_ms: int
    ms: Count
    frames: Count


class Recorded(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One file. key: in the store. start, end: what it shows, UTC. codec: in the words of RFC 6381.

    track: the same of files whose pictures follow each other in one decoder. timescale: ticks a second of its own
    clock, and early: where on that the video begins. init, head: bytes of what a decoder must know, and of all that is
    before the first group. groups_ms: when each group of pictures begins, in milliseconds after `start`, the first at
    0. sizes: bytes of each; they follow each other. first_seq, last_seq: in MEDIA. epoch, last_n: of the segments in
    it, and the last one's number there. segments: how many are in it, and cuts: which. incident: whether one is in it
    or beside it. keyframes: whether there are keyframes alone, as nobody wanted the rest.
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
        """The groups that show something of [since, until)."""
        return [group for group in self.groups if group.start < until and group.until > since]

    def at(self, time: dt.datetime) -> Group:
        """The group that shows a time, or the one nearest to it."""
        n = bisect_right(self.groups_ms, (time - self.start) / _MS) - 1
        return self.groups[max(0, n)]


class Hole(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A time without video. segments: how many are known to be missing, where that is known."""

    since: Time
    until: Time
    cause: Cause
    segments: Count = 0

    def __post_init__(self) -> None:
        check_times(self.since, self.until)


class Hour(msgspec.Struct, frozen=True, kw_only=True):
    """What a camera's files that begin in an hour are, in their order, and the holes that begin in it."""

    camera: Token
    hour: Time
    files: tuple[Recorded, ...] = ()
    holes: tuple[Hole, ...] = ()

    def __post_init__(self) -> None:
        check_times(self.hour)


class Sum(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What there is of one hour. seconds: of video. size: bytes. lost: seconds without video, by cause.

    settled: whether it was decided what stays of it. incident: whether any is in it.
    """

    hour: Time
    seconds: float
    size: Count
    files: Count
    lost: dict[str, float] = {}
    settled: bool = False
    incident: bool = False

    def __post_init__(self) -> None:
        check_times(self.hour)

    @classmethod
    def of(cls, hour: Hour, *, settled: bool = False) -> Sum:
        lost: dict[str, float] = {}
        for hole in hour.holes:
            lost[hole.cause] = round(lost.get(hole.cause, 0.0) + (hole.until - hole.since) / _SECOND, 3)
        return cls(
            hour=hour.hour,
            seconds=round(sum((file.end - file.start) / _SECOND for file in hour.files), 3),
            size=sum(file.size for file in hour.files),
            files=len(hour.files),
            lost=lost,
            settled=settled,
            incident=any(file.incident for file in hour.files),
        )

    def with_more(self, more: Sum) -> Sum:
        """Both, of one hour."""
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
    hours: tuple[Sum, ...] = ()

    def having(self, *sums: Sum) -> Catalogue:
        """With these in the place of those of the same hours."""
        hours = {one.hour: one for one in (*self.hours, *sums)}
        return msgspec.structs.replace(self, hours=tuple(hours[hour] for hour in sorted(hours)))

    def adding(self, one: Sum) -> Catalogue:
        """With what more there is of an hour, part of which may be here."""
        here = next((known for known in self.hours if known.hour == one.hour), None)
        return self.having(here.with_more(one) if here else one)

    def without(self, hour: dt.datetime) -> Catalogue:
        return msgspec.structs.replace(self, hours=tuple(one for one in self.hours if one.hour != hour))


def check_times(*times: dt.datetime) -> None:
    """Raises ValueError for one that no clock may show."""
    if not all(map(in_time, times)):
        raise ValueError(f"times are from {EARLIEST:%Y} to {LATEST:%Y}")


def hour_of(time: dt.datetime) -> dt.datetime:
    """The hour that a time is in, UTC."""
    return time.astimezone(dt.UTC).replace(minute=0, second=0, microsecond=0)


def hours_of(since: dt.datetime, until: dt.datetime, longest: dt.timedelta) -> list[dt.datetime]:
    """The hours whose files show something of [since, until). longest: of a file, which is its first hour's."""
    first, last = hour_of(since - longest), hour_of(until)
    return [first + n * HOUR for n in range((last - first) // HOUR + 1)]


def folder_of(camera: str, hour: dt.datetime) -> str:
    """Where an hour's files are, without a slash at its end."""
    return f"{camera}/{hour:%Y-%m-%d}/{hour:%H}"


def hour_key(camera: str, hour: dt.datetime) -> str:
    """Where the index of an hour is."""
    return f"{folder_of(camera, hour)}{INDEX}"


def catalogue_key(camera: str) -> str:
    """Where it is said what there is of a camera."""
    return f"{camera}/hours.json"


def file_key(camera: str, start: dt.datetime, token: str) -> str:
    """Where a file is that begins then. token: of this try to write it; no other has it."""
    return f"{folder_of(camera, hour_of(start))}/{start.astimezone(dt.UTC):%M%S}-{token}.mp4"


def encode(index: Hour | Catalogue) -> bytes:
    return msgspec.json.encode(index)


def decode(data: bytes, kind: type[T]) -> T:
    """Raises Unreadable for what is none."""
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        raise Unreadable(str(e)) from e


def covered(files: Iterable[Recorded], since: dt.datetime, until: dt.datetime) -> dt.timedelta:
    """How much of [since, until) files show, which do not lie upon each other."""
    parts = (min(until, file.end) - max(since, file.start) for file in files)
    return sum((part for part in parts if part > dt.timedelta()), dt.timedelta())
