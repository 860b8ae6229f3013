"""A camera's recording position, and the recorded part of its running hour: one entry, changed in one step. Pure.

    step = advance("lobby", ledger, files, holes, last)     # of files that are durable
    ...                                                     # write the index of step.closed, if any
    ...                                                     # compare and set the entry to step.ledger

A process killed in between leaves unindexed files, and the earlier index. Its successor repeats the step, so that each
segment is in one indexed file. The index of an hour is written before the entry forgets it, and contains nothing that
the entry did not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta

from shared.contract.names import Token
from shared.recordings import records
from shared.recordings.records import Cause, Count, Hole, Hour, Recorded, Time, check_times, hour_of
from shared.recordings.windows import HOLE, Head

# A larger entry moves its content to the index before its hour is over. A file takes some 3 kB.
MOST_BYTES = 64 * 1024


class Last(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The last processed segment of a camera: seq in MEDIA, its epoch and number there, and its end.

    main: whether it is of the main stream of a camera with a substream.
    """

    seq: Count
    epoch: Token
    n: Count
    end: Time
    main: bool = False

    def __post_init__(self) -> None:
        check_times(self.end)

    @classmethod
    def of(cls, head: Head) -> Last:
        return cls(seq=head.seq, epoch=head.segment.epoch, n=head.segment.n, end=head.end, main=head.main)


class Ledger(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """last: None before the first segment. hour: of the last file; None before the first file.

    files, holes: of `hour`, in the order in which they were written. off: whether nothing is recorded since `last`.
    """

    last: Last | None = None
    hour: Time | None = None
    files: tuple[Recorded, ...] = ()
    holes: tuple[Hole, ...] = ()
    off: bool = False

    def __post_init__(self) -> None:
        check_times(*([self.hour] if self.hour else ()))

    @property
    def position(self) -> Annotated[int, Meta(ge=1)]:
        """The lowest possible sequence in MEDIA of the next segment."""
        return self.last.seq + 1 if self.last else 1


class Step(NamedTuple):
    """ledger: after the step. closed: content of an hour's index, which may have it already. taken: how many files the
    step covers; the others belong to another hour, and to a step of their own.
    """

    ledger: Ledger
    closed: Hour | None
    taken: int


def advance(camera: str, ledger: Ledger, files: Sequence[Recorded], holes: Sequence[Hole], last: Last) -> Step:
    """Advance past `last`. files: in order, from the ledger's position on. holes: between them."""
    hour = hour_of(files[0].start) if files else ledger.hour
    taken = next((n for n, file in enumerate(files) if hour_of(file.start) != hour), len(files))
    if taken < len(files):
        # Invariant: the position passes only segments that this step covers.
        end = files[taken - 1]
        last = Last(seq=end.last_seq, epoch=end.epoch, n=end.last_n, end=end.end, main=last.main)
        holes = [hole for hole in holes if hole.until <= files[taken].start]
    closed = None
    if hour != ledger.hour or len(encode(ledger)) > MOST_BYTES:
        closed = open_hour(camera, ledger)
        ledger = Ledger(last=ledger.last)
    after = Ledger(last=last, hour=hour, files=(*ledger.files, *files[:taken]), holes=(*ledger.holes, *holes))
    return Step(after, closed, taken)


def open_hour(camera: str, ledger: Ledger) -> Hour | None:
    """Return the ledger's hour, which may not be over."""
    if ledger.hour is None:
        return None
    return Hour(camera=camera, hour=ledger.hour, files=ledger.files, holes=ledger.holes)


def close_hour(camera: str, ledger: Ledger) -> Step:
    """Close the index of an hour that is over, if no other has begun."""
    return Step(Ledger(last=ledger.last, off=ledger.off), open_hour(camera, ledger), 0)


def hole_before(last: Last | None, head: Head, *, expired: bool, off: bool = False) -> Hole | None:
    """Return the hole between the last processed segment and the next one, with its cause.

    expired: whether MEDIA may have dropped some of it. off: whether it was not to be recorded.
    """
    if last is None:
        return None
    same = head.segment.epoch == last.epoch
    missing = max(0, head.segment.n - last.n - 1) if same else head.segment.n
    if head.main != last.main:
        # Its earlier segments were left out, as the other stream showed their time.
        missing = 0
    if not missing and head.segment.start - last.end <= HOLE:
        return None
    is_expired = expired and (missing or not same)
    cause: Cause = "policy" if off else "expired" if is_expired else "dropped" if missing else "camera"
    since, until = sorted((last.end, head.segment.start))
    return Hole(since=since, until=until, cause=cause, segments=missing)


def merge_hours(indexed: Hour | None, more: Hour) -> Hour:
    """Merge content into an hour's index, by time: if a clock steps back, a time comes again."""
    files = {file.key: file for file in (*(indexed.files if indexed else ()), *more.files)}
    holes = dict.fromkeys((*(indexed.holes if indexed else ()), *more.holes))
    return msgspec.structs.replace(
        more,
        files=tuple(sorted(files.values(), key=lambda file: (file.start, file.key))),
        holes=tuple(sorted(holes, key=lambda hole: hole.since)),
    )


def encode(ledger: Ledger) -> bytes:
    return msgspec.json.encode(ledger)


def decode(data: bytes) -> Ledger:
    """Decode a ledger. Raises Unreadable."""
    return records.decode(data, Ledger)
