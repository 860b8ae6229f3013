"""A run's settings, and the pieces of video that it processes. Pure.

    for piece in pieces(camera, files, job): ...        # each is for one worker, and one object of the results

A run is planned once, and its plan is stored with its results: a resumed run has the same pieces, with the same keys.
"""

from __future__ import annotations

import datetime as dt
import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated

import msgspec
from msgspec import Meta

from services.analytics.limits import Limits
from services.cv.tiles import Grid
from services.embed.sampling import has_instant
from services.vlm.planning.stretches import CaptionPlan
from shared.contract.cameras import TILES
from shared.contract.names import Token
from shared.elastic.levels import sampled
from shared.recordings.records import Cut, Recorded, Time
from shared.runtime.errors import SettingError

# The key of a run's plan in its results.
PLAN = "plan.json"
# Maximum bytes of a piece's decoded frames, unless it is a single segment.
MOST_BYTES = 256 * 2**20
# Maximum bytes of one input of a detector with a fixed size, and of an embedder.
_SMALL, _VIEW = 640 * 640 * 3, 384 * 384 * 3
# The detector's name if nothing is to be detected.
NONE = "none"
# The prefix of a detector's name if replicas of cv analyse the video.
LIVE = "cv:"
_MS = dt.timedelta(milliseconds=1)


class DetectionSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The detection settings of a camera, as in `Camera` and CV_ settings. classes: empty reports all."""

    fps: Annotated[float, Meta(gt=0, le=120)] = 5.0
    min_score: Annotated[float, Meta(ge=0, le=1)] = 0.4
    tiles: Annotated[str, Meta(pattern=TILES)] = "1x1"
    classes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raises SettingError."""
        if not re.fullmatch(TILES, self.tiles):
            raise SettingError(f"tiles is {self.tiles!r}: give columns and rows of 1 to 4 each, such as 2x1")


class Embed(msgspec.Struct, frozen=True, kw_only=True):
    """The embedding settings, as in EMBED_ settings. size: of the model's input, once it has been loaded."""

    model: str
    pretrained: str = ""
    device: str = "cpu"
    fps: Annotated[float, Meta(gt=0, le=120)] = 1.0
    batch_size: Annotated[int, Meta(ge=1, le=1024)] = 8
    size: tuple[int, int] | None = None


class Caption(msgspec.Struct, frozen=True, kw_only=True):
    """The caption settings, as in VLM_ settings.

    model: its name in rows, once its endpoint has reported it. frames: per stretch. size: maximum pixels of a frame's
    longer side. plans, prompts: by camera; without a prompt: the default of vlm.
    """

    model: str = ""
    frames: Annotated[int, Meta(ge=1, le=256)] = 8
    size: Annotated[int, Meta(ge=32, le=4096)] = 640
    plans: dict[Token, CaptionPlan]
    prompts: dict[Token, str] = {}


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of a run.

    run: its id. store, output: the locations of recordings and results: a folder, or such as `s3://…`. key_file: the
    path of the keys of encrypted recordings on each machine. since, until: of the video. model, device, format,
    runtime, precision, batch_size: of the detector, as in DetectorOptions; see NONE and LIVE. looks: by camera. embed,
    caption: None: not wanted. rules: by camera, as JSON, if there are any. limits: of the tracker.
    """

    run: Token
    store: str
    key_file: str = ""
    output: str
    since: Time
    until: Time
    model: str
    device: str = "cpu"
    format: str = ""
    runtime: str = ""
    precision: str = ""
    batch_size: Annotated[int, Meta(ge=1, le=1024)] = 8
    looks: dict[Token, DetectionSettings]
    embed: Embed | None = None
    caption: Caption | None = None
    rules: dict[Token, msgspec.Raw] = {}
    limits: Limits

    @property
    def models(self) -> str:
        """Names of all models."""
        return " and ".join(filter(None, (self.vision_models, self.caption.model if self.caption else "")))

    @property
    def vision_models(self) -> str:
        """Names of the detector and the embedder, if any."""
        detector = "" if self.model == NONE else self.model.removeprefix(LIVE)
        return " and ".join(filter(None, (detector, self.embed.model if self.embed else "")))

    @property
    def analyzes_frames(self) -> bool:
        """Whether the job detects or embeds. Captions read frames of their own."""
        return self.model != NONE or self.embed is not None

    @property
    def is_live(self) -> bool:
        """Whether replicas of cv analyse the video."""
        return self.model.startswith(LIVE)

    def frames_to_detect(self, piece: Piece) -> int:
        """Return how many frames of a piece the detector analyses."""
        return 0 if self.model == NONE else piece.frames(self.looks[piece.camera])

    def frames_to_embed(self, piece: Piece) -> int:
        """Return about how many frames of a piece are embedded."""
        return sum(embedded_frames(piece.file, cut, self.embed) for cut in piece.cuts) if self.embed else 0

    def frames(self, piece: Piece) -> int:
        """Return the sum of both."""
        return self.frames_to_detect(piece) + self.frames_to_embed(piece)


class Piece(msgspec.Struct, frozen=True, kw_only=True):
    """Consecutive segments of a file, for one worker. begin, end: the slice of the file's segments."""

    camera: Token
    file: Recorded
    begin: int
    end: int

    @property
    def key(self) -> str:
        """The key of its results, without folder and suffix."""
        return f"{self.file.key.removesuffix('.mp4')}-{self.begin}"

    @property
    def cuts(self) -> Sequence[Cut]:
        return self.file.cuts[self.begin : self.end]

    @property
    def seconds(self) -> float:
        return sum(cut.ms for cut in self.cuts) / 1000

    def frames(self, settings: DetectionSettings) -> int:
        """Return how many frames the detector analyses."""
        return sum(sampled_frames(cut, settings) for cut in self.cuts)


def sampled_frames(cut: Cut, settings: DetectionSettings) -> int:
    """Return how many frames of a segment the detector analyses."""
    return min(cut.frames, sampled(cut.ms / 1000, settings.fps))


def embedded_frames(file: Recorded, cut: Cut, embed: Embed) -> int:
    """Return about how many frames of a segment are embedded: in a long group of pictures some instants have none."""
    if embed.fps > 1:
        return min(cut.frames, sampled(cut.ms / 1000, embed.fps))
    if embed.fps < 1:
        return int(has_instant(file.start + cut.start_ms * _MS, cut.ms / 1000, embed.fps))
    n = bisect_left(file.groups_ms, cut.start_ms - 1)
    return int(n < len(file.groups_ms) and file.groups_ms[n] <= cut.start_ms + 1)


def with_embed_size(job: Job, size: tuple[int, int] | None) -> Job:
    """Return the job with the size of its embedder's input."""
    return msgspec.structs.replace(job, embed=msgspec.structs.replace(job.embed, size=size)) if job.embed else job


def with_captioner(job: Job, model: str) -> Job:
    """Return the job with the name of its caption model."""
    return (
        msgspec.structs.replace(job, caption=msgspec.structs.replace(job.caption, model=model)) if job.caption else job
    )


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A run's settings and all its pieces."""

    job: Job
    pieces: tuple[Piece, ...]


def pieces(camera: str, files: Iterable[Recorded], job: Job) -> Iterator[Piece]:
    """Yield pieces of one file each, by time, of the segments that begin in the job's time."""
    settings = job.looks[camera]
    views = Grid.of(settings.tiles).views
    for file in files:
        within = [n for n, cut in enumerate(file.cuts) if job.since <= file.start + cut.start_ms * _MS < job.until]
        image = _image_bytes(job.model, file) * views
        begin, size = 0, 0
        for k, n in enumerate(within):
            cut = file.cuts[n]
            more = sampled_frames(cut, settings) * image
            more += embedded_frames(file, cut, job.embed) * _VIEW if job.embed else 0
            if size and (size + more > MOST_BYTES or n != within[k - 1] + 1):
                yield Piece(camera=camera, file=file, begin=within[begin], end=within[k - 1] + 1)
                begin, size = k, 0
            size += more
        if size:
            yield Piece(camera=camera, file=file, begin=within[begin], end=within[-1] + 1)


def _image_bytes(model: str, file: Recorded) -> int:
    """Return the bytes of one input of the detector. Torch detectors take the frame in full size."""
    whole = file.width * file.height * 3
    return whole if model.startswith(("torchvision:", "hf:")) else min(whole, _SMALL)
