"""The film of a case: small pictures of its frames, and the embedded detector's objects; cached on disk.

    film = analyse(case, folder)   # half an hour for the first time of a long case, then cached

The gate saves inference, so all frames that are wanted without it are analysed here, once. Every gate and every number
of replicas then uses the same results.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from functools import cache
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from bench import footage_vtest as footage
from bench.static_scene import cutouts, encoding, scene, visits
from bench.static_scene.cases import Case
from bench.static_scene.encoding import RATES
from bench.static_scene.visits import Visit
from services.cv import detectors
from services.cv.detectors import Detector
from services.ingest.cutting.piece import Piece
from shared.contract.events import DetectedObject
from shared.static_scene.picture import SIZE
from shared.video.decode import FrameProbe, Image, decode

FPS = 5.0
# The floor of scores in cv's events.
LEAST_SCORE = 0.1
# Part of a cache file's name: increment it with every change of the content.
VERSION = 1


class AnalysedSegment(msgspec.Struct, frozen=True):
    """An analysed segment. key: whether it begins with a keyframe.

    seconds: of its first frame, from the film's start. frames: (offset, objects) of each wanted frame.
    """

    n: int
    key: bool
    seconds: float
    duration: float
    bytes: int
    frames: list[tuple[float, list[DetectedObject]]]


class Film(msgspec.Struct, frozen=True):
    """An analysed film. small: grey pictures (frames, 48, 64) of each segment."""

    segments: list[AnalysedSegment]
    small: list[NDArray[np.uint8]]
    visits: list[Visit]
    frames: int


def plan_visits(case: Case) -> tuple[list[Visit], int]:
    count = int(case.minutes * 60 * footage.FPS)
    rng = np.random.default_rng((case.seed, 0))
    return visits.plan(case.wishes, count, cutouts.walks(), cutouts.cars(), rng), count


def analyse(case: Case, folder: Path) -> Film:
    """Return a case's film. folder: the cache."""
    who, count = plan_visits(case)
    key = hashlib.sha256(msgspec.json.encode((VERSION, case, RATES[case.rate]))).hexdigest()[:16]
    cache_file, pictures = folder / f"{case.name}-{key}.json", folder / f"{case.name}-{key}.npy"
    if not cache_file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as work:
            pieces = render(case, Path(work) / "film.mp4")
        segments, small = _analyse(pieces)
        np.save(pictures, np.concatenate(small))
        part = cache_file.with_suffix(f".{os.getpid()}")
        part.write_bytes(msgspec.json.encode(segments))
        part.rename(cache_file)
    segments = msgspec.json.decode(cache_file.read_bytes(), type=list[AnalysedSegment])
    whole = np.load(pictures)
    ends = np.cumsum([len(segment.frames) for segment in segments])
    return Film(segments, np.split(whole, ends[:-1]), who, count)


def render(case: Case, path: Path) -> list[Piece]:
    """Return a case's video, as segments."""
    who, count = plan_visits(case)
    return encoding.encode(scene.frames(case.what, who, count, case.seed), RATES[case.rate], case.name, path)


@cache
def detector() -> Detector:
    return detectors.load("openvino:ssd_mobilenet_v2_coco", threads=2, min_score=LEAST_SCORE)


def _analyse(pieces: list[Piece]) -> tuple[list[AnalysedSegment], list[NDArray[np.uint8]]]:
    segments, small = [], []
    gop: list[bytes] = []
    for piece in pieces:
        head = piece.segment
        is_key = piece.gop == head.message_id
        gop = [] if is_key else gop
        greys: list[NDArray[np.uint8]] = []

        def collect(_: float, grey: Image, into: list[NDArray[np.uint8]] = greys) -> bool:
            into.append(grey)
            return False

        found = decode(piece.payload, fps=FPS, size=detector().size, before=gop, probe=FrameProbe(SIZE, collect))
        gop = [*gop, piece.payload]
        objects = detector().detect([p.pixels for p in found.pictures])
        frames = [(p.offset, o) for p, o in zip(found.pictures, objects, strict=True)]
        seconds = (head.start - footage.START).total_seconds()
        segments.append(AnalysedSegment(head.n, is_key, seconds, head.duration, piece.size, frames))
        small.append(np.stack(greys))
    return segments, small
