"""Encoded films of dashes between two keyframes: somebody crosses the whole picture within a second or so.

dashed = render(SCENES["rain"])
results, _ = dealing.run_gate(dashed.film, 1, ..., check_s=0.5)
found(dashed, [bool(result.images) for result in results])      # by duration
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
from numpy.typing import NDArray

from bench.static_scene import synthetic
from bench.static_scene.encoding import RATES
from bench.static_scene.films import FPS, AnalysedSegment, Film
from bench.static_scene.synthetic import Case
from services.ingest.cutting.piece import Piece
from shared.contract.events import DetectedObject
from shared.static_scene.picture import SHAPE, SIZE
from shared.video.container import opened
from shared.video.decode import FrameProbe, Image, decode
from tidegate.demo import clips

DURATIONS = (0.4, 0.6, 0.8, 1.2)
VIDEO_FPS = 25
# Seconds without anybody at first, and from each dash's segment to the next one.
_CALM_S, _SLOT_S = 30, 3
_TIMES = 8
# Pixels of a block's side, and of the synthetic pictures' pixel.
_BLOCK, _SCALE = 8, 2
# The one who dashes: width and height in blocks, the highest row, and levels of contrast.
_WIDTH, _HEIGHT, _TOP, _CONTRAST = 3, 7, 30, 40.0
_NOISE = 3.0


class Scene(NamedTuple):
    case: Case
    rate: str


SCENES = {
    "still, constant quality": Scene(Case(sort="ordinary", seed=1), "quality"),
    "still, CBR": Scene(Case(sort="ordinary", seed=2), "cbr"),
    "rain, 4 streaks": Scene(Case(sort="rain", seed=3, amount=4), "quality"),
    "rain, 10 streaks": Scene(Case(sort="rain", seed=4, amount=10), "vbr"),
    "snow, 20 flakes": Scene(Case(sort="snow", seed=5, amount=20), "vbr"),
    "glints, 2 per frame": Scene(Case(sort="sparkle", seed=6, amount=2), "quality"),
}


class Dash(NamedTuple):
    """begin, duration: seconds. One of less than a second lies between two keyframes."""

    begin: float
    duration: float

    def left(self, t: float) -> float | None:
        """Return the left edge in blocks; None outside of the dash."""
        share = (t - self.begin) / self.duration
        return share * (SIZE[0] + _WIDTH) - _WIDTH if 0 <= share < 1 else None

    def is_in(self, segment: AnalysedSegment) -> bool:
        return segment.seconds < self.begin + self.duration and self.begin < segment.seconds + segment.duration


class Dashed(NamedTuple):
    """sizes: bytes of the packets after the keyframe, by segment."""

    film: Film
    dashes: list[Dash]
    sizes: list[list[int]]


def plan(seed: int) -> list[Dash]:
    """Return the dashes in random order, each at a random phase between keyframes."""
    rng = np.random.default_rng(seed)
    durations = rng.permutation(np.repeat(DURATIONS, _TIMES)).tolist()
    frame = 1 / VIDEO_FPS
    # A longer one than a second covers a keyframe at any phase.
    latest = {duration: 1 - frame - (duration if duration < 1 else 0) for duration in DURATIONS}
    return [
        Dash(_CALM_S + n * _SLOT_S + float(rng.uniform(frame, latest[duration])), duration)
        for n, duration in enumerate(durations)
    ]


def encode(scene: Scene, dashes: Sequence[Dash], seconds: int, path: Path, scale: int = _SCALE) -> list[Piece]:
    """Return a film's segments. scale: pixels per pixel of the synthetic pictures."""
    rate = RATES[scene.rate]
    with av.open(str(path), "w") as out:
        stream = out.add_stream(rate.codec, rate=VIDEO_FPS, options=rate.options)
        stream.width, stream.height = SIZE[0] * synthetic.PIXELS * scale, SIZE[1] * synthetic.PIXELS * scale
        stream.pix_fmt, stream.gop_size = "yuv420p", VIDEO_FPS
        for n, picture in enumerate(_pictures(scene.case, dashes, seconds * VIDEO_FPS, scale)):
            frame = av.VideoFrame.from_ndarray(picture, "gray").reformat(format="yuv420p")
            frame.pts, frame.time_base = n, Fraction(1, VIDEO_FPS)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return clips.pieces(path, "dashes")


def _pictures(case: Case, dashes: Sequence[Dash], count: int, scale: int) -> Iterator[NDArray[np.uint8]]:
    rng = np.random.default_rng((case.seed, 7))
    backdrop, side = synthetic.backdrop(case), synthetic.PIXELS
    shape = SHAPE[0] * side * scale, SHAPE[1] * side * scale
    noises = [rng.normal(0, _NOISE, shape).astype(np.float32) for _ in range(4)]
    for n in range(count):
        picture, t = backdrop(n * FPS / VIDEO_FPS), n / VIDEO_FPS
        for dash in dashes:
            if (left := dash.left(t)) is not None:
                x1, x2 = max(0, round(left * side)), max(0, round((left + _WIDTH) * side))
                picture[_TOP * side : (_TOP + _HEIGHT) * side, x1:x2] += _CONTRAST
        # Another place of it in each frame: equal noise would make a frame of no bytes.
        noise = np.roll(noises[n % len(noises)], tuple(rng.integers(shape)), (0, 1))
        large = picture.repeat(scale, axis=0).repeat(scale, axis=1) + noise
        yield large.clip(0, 255).astype(np.uint8)


def render(scene: Scene) -> Dashed:
    """Return the film of a scene, decoded as cv does, with a perfect detector."""
    dashes = plan(scene.case.seed)
    with tempfile.TemporaryDirectory() as folder:
        pieces = encode(scene, dashes, _CALM_S + len(dashes) * _SLOT_S, Path(folder) / "film.mp4")
    segments, small, sizes = [], [], []
    begin = pieces[0].segment.start
    for piece in pieces:
        head, greys = piece.segment, list[tuple[float, Image]]()

        def collect(offset: float, grey: Image, into: list[tuple[float, Image]] = greys) -> bool:
            into.append((offset, grey))
            return False

        decode(piece.payload, fps=FPS, size=(64, 48), probe=FrameProbe(SIZE, collect))
        seconds = (head.start - begin).total_seconds()
        frames = [(offset, _objects(dashes, seconds + offset)) for offset, _ in greys]
        segments.append(AnalysedSegment(head.n, True, seconds, head.duration, piece.size, frames))
        small.append(np.stack([grey for _, grey in greys]))
        with opened(piece.payload) as container:
            sizes.append([packet.size for packet in container.demux(video=0) if packet.size][1:])
    return Dashed(Film(segments, small, [], len(segments)), dashes, sizes)


def _objects(dashes: Sequence[Dash], t: float) -> list[DetectedObject]:
    found = []
    for dash in dashes:
        left = dash.left(t)
        if left is not None and (x1 := max(0.0, left)) + 0.5 < (x2 := min(float(SIZE[0]), left + _WIDTH)):
            box = x1 / SIZE[0], _TOP / SIZE[1], x2 / SIZE[0], (_TOP + _HEIGHT) / SIZE[1]
            found.append(DetectedObject(label="person", score=0.9, box=box))
    return found


def found(dashed: Dashed, analysed: Sequence[bool]) -> dict[float, int]:
    """Return how many dashes of each duration are in an analysed segment with a frame of them."""
    counts = dict.fromkeys(DURATIONS, 0)
    for dash in dashed.dashes:
        counts[dash.duration] += any(
            is_analysed and dash.is_in(segment) and any(objects for _, objects in segment.frames)
            for segment, is_analysed in zip(dashed.film.segments, analysed, strict=True)
        )
    return counts


def is_empty(dashed: Dashed) -> NDArray[np.bool_]:
    """Whether nobody is in a segment, after the first calm seconds in which the scene is learned."""
    return np.array(
        [s.seconds >= _CALM_S and not any(dash.is_in(s) for dash in dashed.dashes) for s in dashed.film.segments]
    )


def by_sizes(dashed: Dashed, false_alarms: float) -> list[bool]:
    """Return the segments whose packets after the keyframe are unusually large together: a witness without decoding.

    false_alarms: the share of empty segments that it may report. The limit is chosen with knowledge of these, which no
    running system has.
    """
    sizes = np.array([sum(part) for part in dashed.sizes], float)
    limit: Any = np.quantile(sizes[is_empty(dashed)], 1 - false_alarms)
    return [bool(size > limit) for size in sizes]
