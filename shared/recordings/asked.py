"""What `svc.recording` and those below it are asked, and what they answer. Pure.

{"camera": "lobby", "since": "2026-11-29T10:00:00Z", "until": "2026-11-29T10:05:00Z"}

`svc.recording` answers with the groups of pictures that show a time, and with the times without video and why there is
none. `svc.recording.video` gives their bytes: below the `init` bytes of the first, they are one fragmented MP4.
`svc.recording.hours` says what there is of a camera, hour by hour.
"""

from __future__ import annotations

import datetime as dt
from typing import Annotated

import msgspec
from msgspec import Meta

from shared.contract.names import Token
from shared.recordings.playing import Play
from shared.recordings.policy import Kept
from shared.recordings.records import Count, Hole, Sum, check_times

# A range has so much at most, and an answer so many groups.
LONGEST = dt.timedelta(hours=24)
MOST = 4000
# The header that says how many bytes there are of what was asked for.
SIZE = "Recording-Size"


class Range(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """since, until: times with a zone. skip: how many groups are known already."""

    camera: Token
    since: Annotated[dt.datetime, Meta(tz=True)]
    until: Annotated[dt.datetime, Meta(tz=True)]
    skip: Count = 0

    def __post_init__(self) -> None:
        check_times(self.since, self.until)


class Found(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """plays: groups of pictures, by time. holes: times without video. more: whether there are groups behind these."""

    camera: Token
    plays: list[Play]
    holes: list[Hole]
    more: bool = False


class Wanted(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Bytes of a file that a range names: begin:end of it, as it is stored; or moved by `ticks`, where these are a
    group's. An answer may be shorter: what is missing is asked for with `offset`.
    """

    camera: Token
    file: Annotated[str, Meta(min_length=1, max_length=300)]
    begin: Count
    end: Count
    ticks: Annotated[int, Meta(ge=-(2**62), le=2**62)] | None = None
    sequence: Annotated[int, Meta(ge=1, le=2**32 - 1)] = 1
    offset: Count = 0


class Hours(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """camera: None asks for the totals of all cameras. day: by UTC; of one camera, have its files and holes named."""

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


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """A file. key: below RECORDER_STORE. size: bytes. incident: whether one is in it, or beside it. goes: when it goes
    by its age; None: never. keyframes: whether there are these alone.
    """

    key: str
    start: dt.datetime
    end: dt.datetime
    size: Count
    incident: bool
    goes: dt.datetime | None
    keyframes: bool = False


class Total(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What there is of a camera. hours: by time, of which the last may not be over; left out of all cameras' totals.

    seconds: of video. size: bytes. lost: seconds without video, by cause. first, last: of what there is. kept: the
    policy that holds. goes: when its oldest video goes by age; None: never, or there is none. files: those that begin
    on the day that was asked for. holes: those that touch it.
    """

    camera: Token
    seconds: float = 0.0
    size: Count = 0
    lost: dict[str, float] = {}
    first: dt.datetime | None = None
    last: dt.datetime | None = None
    kept: Kept
    goes: dt.datetime | None = None
    hours: list[Sum] = []
    files: list[Listed] = []
    holes: list[Hole] = []


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    cameras: list[Total]
