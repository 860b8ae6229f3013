"""How far the recording of a camera is, and what of its running hour is recorded: one entry, changed in one step. Pure.

    step = advance("lobby", ledger, files, holes, last)     # what has been written, and is on the disk
    …                                                       # write the index of step.closed, if any
    …                                                       # compare and set the entry to step.ledger

Whoever is killed in between leaves files that nobody knows, and an index that says what was known before: what comes
next does the step again, so that each segment is in one file that is known. The index of an hour is written before the
entry forgets it, and holds nothing that the entry has not held.
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

# An entry that is larger gives what it holds to the index before its hour is over. A file takes some 3 kB.
MOST_BYTES = 64 * 1024


class Last(msgspec.Struct, frozen=True, kw_only=True):
    """The segment of a camera that was dealt with last: seq in MEDIA, its epoch and number there, and its end."""

    seq: Count
    epoch: Token
    n: Count
    end: Time

    def __post_init__(self) -> None:
        check_times(self.end)

    @classmethod
    def of(cls, head: Head) -> Last:
        return cls(seq=head.seq, epoch=head.segment.epoch, n=head.segment.n, end=head.end)


class Ledger(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """last: None where nothing was dealt with yet. files, holes: of `hour`, which is the last file's; None where there
    was none yet. They are in the order in which they were written. off: whether nothing is recorded since `last`.
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
        """Of the segment in MEDIA that is read next; at least."""
        return self.last.seq + 1 if self.last else 1


class Step(NamedTuple):
    """ledger: after it. closed: what the index of an hour has to hold, and may hold already. taken: how many of the
    files are in it; the others are of another hour, and are a step of their own.
    """

    ledger: Ledger
    closed: Hour | None
    taken: int


def advance(camera: str, ledger: Ledger, files: Sequence[Recorded], holes: Sequence[Hole], last: Last) -> Step:
    """files: in order, from the ledger's position on. holes: between them. last: what is dealt with by all of it."""
    hour = hour_of(files[0].start) if files else ledger.hour
    taken = next((n for n, file in enumerate(files) if hour_of(file.start) != hour), len(files))
    if taken < len(files):
        # Only what is in it is behind it.
        end = files[taken - 1]
        last = Last(seq=end.last_seq, epoch=end.epoch, n=end.last_n, end=end.end)
        holes = [hole for hole in holes if hole.until <= files[taken].start]
    closed = None
    if hour != ledger.hour or len(encode(ledger)) > MOST_BYTES:
        closed = running(camera, ledger)
        ledger = Ledger(last=ledger.last)
    after = Ledger(last=last, hour=hour, files=(*ledger.files, *files[:taken]), holes=(*ledger.holes, *holes))
    return Step(after, closed, taken)


def running(camera: str, ledger: Ledger) -> Hour | None:
    """What the ledger holds of an hour that may not be over."""
    if ledger.hour is None:
        return None
    return Hour(camera=camera, hour=ledger.hour, files=ledger.files, holes=ledger.holes)


def left(camera: str, ledger: Ledger) -> Step:
    """What is done where a camera's hour is over, and no other has begun: its index is closed."""
    return Step(Ledger(last=ledger.last, off=ledger.off), running(camera, ledger), 0)


def hole_before(last: Last | None, head: Head, *, expired: bool, off: bool = False) -> Hole | None:
    """What is missing between the segment that was dealt with last and the next one, and why.

    expired: whether MEDIA may have let some of it go. off: whether it was not to be recorded.
    """
    if last is None:
        return None
    same = head.segment.epoch == last.epoch
    missing = max(0, head.segment.n - last.n - 1) if same else head.segment.n
    if not missing and head.segment.start - last.end <= HOLE:
        return None
    gone = expired and (missing or not same)
    cause: Cause = "policy" if off else "expired" if gone else "dropped" if missing else "camera"
    since, until = sorted((last.end, head.segment.start))
    return Hole(since=since, until=until, cause=cause, segments=missing)


def merged(known: Hour | None, more: Hour) -> Hour:
    """An hour's index with what is to be in it, by time: where a clock steps back, a time comes again."""
    files = {file.key: file for file in (*(known.files if known else ()), *more.files)}
    holes = dict.fromkeys((*(known.holes if known else ()), *more.holes))
    return msgspec.structs.replace(
        more,
        files=tuple(sorted(files.values(), key=lambda file: (file.start, file.key))),
        holes=tuple(sorted(holes, key=lambda hole: hole.since)),
    )


def encode(ledger: Ledger) -> bytes:
    return msgspec.json.encode(ledger)


def decode(data: bytes) -> Ledger:
    """Raises Unreadable for what is no ledger."""
    return records.decode(data, Ledger)
