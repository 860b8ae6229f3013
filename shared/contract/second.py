"""Second looks at recorded video by workers that have nothing else to do: what both sides say. Pure.

    a worker ──▶ svc.look.cv: "I have time" ──▶ whoever wants such looks ──▶ a Task, or nothing
             ──▶ svc.look.cv.<whoever>: Fetch ──▶ a part of the segment's video
             ──▶ svc.look.cv.<whoever>: Seen  ──▶ it is taken

Workers ask, so that nobody has to know which of them has time. Nothing of it is kept by a stream: whoever wants the
looks has the video and keeps what was seen, and asks another worker where one falls silent.
"""

from __future__ import annotations

from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta

from shared.contract.bounds import Count, FramesPerSecond, Label, Line, Most, Name, Pixels, Seconds, Unit, in_time
from shared.contract.cameras import TILES
from shared.contract.events import DetectedObject
from shared.contract.names import Token
from shared.contract.segment import Segment
from shared.runtime.errors import BadMessage

T = TypeVar("T")

# Bytes of one answer, far below what a server takes: live video goes by between two of them.
PART_BYTES = 256 * 1024
# A worker that has not been heard of for so long has given its task up.
SILENT_S = 30.0
# Parts, segments before one, and bytes of what is decoded for one: more is no segment that ingest made.
MOST_SEGMENTS = 1000
MOST_BYTES = 512 * 2**20


class Free(msgspec.Struct, frozen=True, kw_only=True, tag="free"):
    """A worker has time. replica: its name. model: that it looks with."""

    replica: Token
    model: Name


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """One segment to look at.

    id: of the task, for whoever gave it. by: the last token of the subject on which it is fetched and answered.
    segment: what its headers said. sizes: bytes of the segments that are decoded, oldest first: it is the last of them.
    fps, min_score, tiles, classes: as a camera's settings have them; no classes: all.
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
    """Bytes from `begin` on of a task's segments, which follow each other: the answer has PART_BYTES at most."""

    id: str
    begin: Count


class Working(msgspec.Struct, frozen=True, kw_only=True, tag="working"):
    """A task is worked on. It is not answered."""

    id: str


class Seen(msgspec.Struct, frozen=True, kw_only=True, tag="seen"):
    """What was seen of a task.

    width, height: of the upright video. offsets: seconds of the frames that were looked at. objects: of each of them.
    busy_s: seconds of one worker. failed: why nothing was looked at; empty: it was. gave_up: it had no time after all.
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
        """Raises ValueError, which decoding says as it says what else is wrong."""
        if len(self.offsets) != len(self.objects):
            raise ValueError("there is not one list of objects for each frame")
        if not (self.failed or self.gave_up) and None in (self.width, self.height):
            raise ValueError("how large the video is, is missing")


def encode(said: Free | Task | Fetch | Working | Seen) -> bytes:
    return msgspec.json.encode(said)


def task(data: bytes) -> Task | None:
    """What a worker is answered; None: nothing is wanted. Raises BadMessage that names the field."""
    found = _decoded(data, Task) if data else None
    if found and (sum(found.sizes) > MOST_BYTES or not in_time(found.segment.start)):
        raise BadMessage("no word of a second look: a segment is not so large, or not of that time")
    return found


def free(data: bytes) -> Free:
    """What a worker asks. Raises BadMessage that names the field."""
    return _decoded(data, Free)


def of_task(data: bytes) -> Fetch | Working | Seen:
    """What a worker says of a task. Raises BadMessage that names the field."""
    found: Fetch | Working | Seen = _decoded(data, Fetch | Working | Seen)  # type: ignore[arg-type]
    return found


def _decoded(data: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        raise BadMessage(f"no word of a second look: {e}") from e
