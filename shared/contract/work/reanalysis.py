"""Reanalysis of recorded video by idle workers: the messages of both sides. Pure.

    a worker ──▶ svc.look.cv: "I have time" ──▶ a requester ──▶ a Task, or nothing
             ──▶ svc.look.cv.<requester>: Fetch ──▶ a part of the segment's video
             ──▶ svc.look.cv.<requester>: Seen  ──▶ it is taken

Workers ask, so that no process has to track which of them is idle. No stream stores the messages: the requester has the
video, stores the results, and asks another worker if one falls silent.
"""

from __future__ import annotations

from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta

from shared.contract.cameras import TILES
from shared.contract.events import DetectedObject
from shared.contract.names import Token
from shared.contract.reading.bounds import (
    Count,
    FramesPerSecond,
    Label,
    Line,
    Most,
    Name,
    Pixels,
    Seconds,
    Unit,
    in_time,
)
from shared.contract.segment import Segment
from shared.runtime.errors import BadMessage

T = TypeVar("T")

# Bytes of one answer, far below the server's maximum: live video passes between two of them.
PART_BYTES = 256 * 1024
# A worker that is silent for this long has dropped its task.
SILENT_S = 30.0
# Maximum parts, earlier segments, and bytes to decode for one: ingest makes no larger segment.
MOST_SEGMENTS = 1000
MOST_BYTES = 512 * 2**20


class Free(msgspec.Struct, frozen=True, kw_only=True, tag="free"):
    """A worker is idle. replica: its name. model: of its detector."""

    replica: Token
    model: Name


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """One segment to analyse.

    id: of the task, for the requester. by: the last token of the subject on which it is fetched and answered. segment:
    its headers. sizes: bytes of the segments to decode, oldest first: it is the last of them. fps, min_score, tiles,
    classes: as in a camera's settings; no classes: all.
    """

    id: Annotated[str, Meta(min_length=1, max_length=64)]
    by: Token
    segment: Segment
    sizes: Annotated[
        tuple[Annotated[int, Meta(gt=0, le=MOST_BYTES)], ...], Meta(min_length=1, max_length=MOST_SEGMENTS)
    ]
    fps: FramesPerSecond
    min_score: Unit
    tiles: Annotated[str, Meta(pattern=TILES)]
    classes: Annotated[tuple[Label, ...], Most] = ()


class Fetch(msgspec.Struct, frozen=True, kw_only=True, tag="fetch"):
    """Bytes from `begin` on of a task's consecutive segments: the answer has at most PART_BYTES."""

    id: str
    begin: Count


class Working(msgspec.Struct, frozen=True, kw_only=True, tag="working"):
    """A task is in progress. There is no answer."""

    id: str


class Seen(msgspec.Struct, frozen=True, kw_only=True, tag="seen"):
    """The result of a task.

    width, height: of the upright video. offsets: seconds of the analysed frames. objects: of each of them. busy_s:
    seconds of one worker. failed: why nothing was analysed; empty: success. gave_up: the worker became busy.
    """

    id: str
    width: Pixels | None = None
    height: Pixels | None = None
    offsets: Annotated[tuple[Seconds, ...], Most] = ()
    objects: Annotated[tuple[Annotated[tuple[DetectedObject, ...], Most], ...], Most] = ()
    busy_s: Seconds = 0.0
    failed: Line = ""
    gave_up: bool = False

    def __post_init__(self) -> None:
        """Raise ValueError, which the decoder reports like its own errors."""
        if len(self.offsets) != len(self.objects):
            raise ValueError("there is not one list of objects for each frame")
        if not (self.failed or self.gave_up) and None in (self.width, self.height):
            raise ValueError("how large the video is, is missing")


def encode(message: Free | Task | Fetch | Working | Seen) -> bytes:
    return msgspec.json.encode(message)


def task(data: bytes) -> Task | None:
    """Return the answer to a worker; None: no task. Raises BadMessage that names the field."""
    found = _decoded(data, Task) if data else None
    if found and (sum(found.sizes) > MOST_BYTES or not in_time(found.segment.start)):
        raise BadMessage("no word of a second look: a segment is not so large, or not of that time")
    return found


def free(data: bytes) -> Free:
    """Return a worker's request. Raises BadMessage that names the field."""
    return _decoded(data, Free)


def of_task(data: bytes) -> Fetch | Working | Seen:
    """Return a worker's message on a task. Raises BadMessage that names the field."""
    found: Fetch | Working | Seen = _decoded(data, Fetch | Working | Seen)  # type: ignore[arg-type]
    return found


def _decoded(data: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        raise BadMessage(f"no word of a second look: {e}") from e
