"""What a run is asked, and the pieces of video that it is made of. Pure.

    for piece in pieces(camera, files, job): ...        # each is for one worker, and one object of the results

A run is planned once, and kept beside its results: whoever goes on with it does the same pieces, each under its key.
"""

from __future__ import annotations

import datetime as dt
import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated

import msgspec
from msgspec import Meta

from services.analytics.state import Limits
from services.cv.tiles import Grid
from services.embed.sampling import has_instant
from services.vlm.stretches import CaptionPlan
from shared.contract.cameras import TILES
from shared.contract.names import Token
from shared.elastic.levels import sampled
from shared.recordings.records import Cut, Recorded, Time
from shared.runtime.errors import SettingError

# Where a run's plan is, beside its results.
PLAN = "plan.json"
# The pictures of one piece have so many bytes at most, where they are not one segment's.
MOST_BYTES = 256 * 2**20
# What a detector that takes one size alone is given at most, and what an embedder is.
_SMALL, _VIEW = 640 * 640 * 3, 384 * 384 * 3
# In the place of a detector: nothing is detected.
NONE = "none"
# Before the name of a detector: the one that cv's replicas have, which look themselves.
LIVE = "cv:"
_MS = dt.timedelta(milliseconds=1)


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """How a camera's video is looked at: as `Camera` and CV_ settings have it. classes: empty reports all."""

    fps: Annotated[float, Meta(gt=0, le=120)] = 5.0
    min_score: Annotated[float, Meta(ge=0, le=1)] = 0.4
    tiles: Annotated[str, Meta(pattern=TILES)] = "1x1"
    classes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raises SettingError."""
        if not re.fullmatch(TILES, self.tiles):
            raise SettingError(f"tiles is {self.tiles!r}: give columns and rows of 1 to 4 each, such as 2x1")


class Embed(msgspec.Struct, frozen=True, kw_only=True):
    """How frames are embedded: as EMBED_ settings have it. size: of the pictures that the model takes, once it was
    loaded somewhere.
    """

    model: str
    pretrained: str = ""
    device: str = "cpu"
    fps: Annotated[float, Meta(gt=0, le=120)] = 1.0
    batch_size: Annotated[int, Meta(ge=1, le=1024)] = 8
    size: tuple[int, int] | None = None


class Caption(msgspec.Struct, frozen=True, kw_only=True):
    """How stretches are captioned: as VLM_ settings have it. model: its name in rows, once its endpoint has said it.

    frames: shown of each. size: pixels of a frame's longer side, at most. plans, prompts: by camera; one that
    has no prompt is captioned by vlm's own.
    """

    model: str = ""
    frames: Annotated[int, Meta(ge=1, le=256)] = 8
    size: Annotated[int, Meta(ge=32, le=4096)] = 640
    plans: dict[Token, CaptionPlan]
    prompts: dict[Token, str] = {}


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """run: its id. store, output: where recordings are, and results go: a folder, or such as `s3://…`.

    key_file: where each machine has the keys of recordings, if they are encrypted: the path alone. since, until: of the
    video. model, device, batch_size: of the detector: NONE detects nothing, and what begins with LIVE looks elsewhere.
    looks: by camera. embed, caption: None where nothing is. rules: by camera, as JSON, for those that have any.
    limits: of what follows objects.
    """

    run: Token
    store: str
    key_file: str = ""
    output: str
    since: Time
    until: Time
    model: str
    device: str = "cpu"
    batch_size: Annotated[int, Meta(ge=1, le=1024)] = 8
    looks: dict[Token, Look]
    embed: Embed | None = None
    caption: Caption | None = None
    rules: dict[Token, msgspec.Raw] = {}
    limits: Limits

    @property
    def models(self) -> str:
        """Of all that looks, and of what captions."""
        return " and ".join(filter(None, (self.eyes, self.caption.model if self.caption else "")))

    @property
    def eyes(self) -> str:
        """Of the detector and of the embedder, as far as there are."""
        detector = "" if self.model == NONE else self.model.removeprefix(LIVE)
        return " and ".join(filter(None, (detector, self.embed.model if self.embed else "")))

    @property
    def looks_at_pictures(self) -> bool:
        """Whether anything is to be detected or embedded: captions have pictures of their own."""
        return self.model != NONE or self.embed is not None

    @property
    def is_live(self) -> bool:
        """Whether cv's replicas look."""
        return self.model.startswith(LIVE)

    def detects(self, piece: Piece) -> int:
        """In how many frames of a piece objects are looked for."""
        return 0 if self.model == NONE else piece.frames(self.looks[piece.camera])

    def embeds(self, piece: Piece) -> int:
        """How many frames of a piece are embedded, about."""
        return sum(embedded_of(piece.file, cut, self.embed) for cut in piece.cuts) if self.embed else 0

    def frames(self, piece: Piece) -> int:
        """Both."""
        return self.detects(piece) + self.embeds(piece)


class Piece(msgspec.Struct, frozen=True, kw_only=True):
    """Segments of a file that one worker looks at. cuts: begin:end of the file's."""

    camera: Token
    file: Recorded
    begin: int
    end: int

    @property
    def key(self) -> str:
        """Of its results, without what they are."""
        return f"{self.file.key.removesuffix('.mp4')}-{self.begin}"

    @property
    def cuts(self) -> Sequence[Cut]:
        return self.file.cuts[self.begin : self.end]

    @property
    def seconds(self) -> float:
        return sum(cut.ms for cut in self.cuts) / 1000

    def frames(self, look: Look) -> int:
        """How many are looked at."""
        return sum(frames_of(cut, look) for cut in self.cuts)


def frames_of(cut: Cut, look: Look) -> int:
    """How many frames of a segment are looked at."""
    return min(cut.frames, sampled(cut.ms / 1000, look.fps))


def embedded_of(file: Recorded, cut: Cut, embed: Embed) -> int:
    """How many frames of a segment are embedded, about: of long groups of pictures some instants have none."""
    if embed.fps > 1:
        return min(cut.frames, sampled(cut.ms / 1000, embed.fps))
    if embed.fps < 1:
        return int(has_instant(file.start + cut.start_ms * _MS, cut.ms / 1000, embed.fps))
    n = bisect_left(file.groups_ms, cut.start_ms - 1)
    return int(n < len(file.groups_ms) and file.groups_ms[n] <= cut.start_ms + 1)


def with_size(job: Job, size: tuple[int, int] | None) -> Job:
    """With the size of the pictures that its embedder takes."""
    return msgspec.structs.replace(job, embed=msgspec.structs.replace(job.embed, size=size)) if job.embed else job


def with_captioner(job: Job, model: str) -> Job:
    """With the name of the model that captions."""
    return (
        msgspec.structs.replace(job, caption=msgspec.structs.replace(job.caption, model=model)) if job.caption else job
    )


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A run: what it was asked, and all that it does."""

    job: Job
    pieces: tuple[Piece, ...]


def pieces(camera: str, files: Iterable[Recorded], job: Job) -> Iterator[Piece]:
    """The segments that begin in the job's time, in pieces of one file each, by time."""
    look = job.looks[camera]
    views = Grid.of(look.tiles).views
    for file in files:
        within = [n for n, cut in enumerate(file.cuts) if job.since <= file.start + cut.start_ms * _MS < job.until]
        image = _image_bytes(job.model, file) * views
        begin, size = 0, 0
        for k, n in enumerate(within):
            cut = file.cuts[n]
            more = frames_of(cut, look) * image
            more += embedded_of(file, cut, job.embed) * _VIEW if job.embed else 0
            if size and (size + more > MOST_BYTES or n != within[k - 1] + 1):
                yield Piece(camera=camera, file=file, begin=within[begin], end=within[k - 1] + 1)
                begin, size = k, 0
            size += more
        if size:
            yield Piece(camera=camera, file=file, begin=within[begin], end=within[-1] + 1)


def _image_bytes(model: str, file: Recorded) -> int:
    """Of one image as the detector gets it. Those of torch take the whole picture."""
    whole = file.width * file.height * 3
    return whole if model.startswith(("torchvision:", "hf:")) else min(whole, _SMALL)
