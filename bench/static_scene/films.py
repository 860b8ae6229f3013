"""What is seen in a case: small pictures of its frames, and what the embedded detector finds in each; kept on disk.

    film = looked(case)            # half an hour for the first time of a long case, at once after that

The device is what the gate saves, so all frames that are wanted without it are looked at here, once. Every gate and
every number of replicas is then tried on the same results.
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
from services.cv.static_scene.picture import SIZE
from services.ingest.segmenter import Piece
from shared.contract.events import DetectedObject
from shared.video.decode import FrameProbe, Image, decode

FPS = 5.0
# As cv keeps objects.
LEAST_SCORE = 0.1
# Part of the name of what is kept: change it with anything that changes it.
VERSION = 1


class AnalysedSegment(msgspec.Struct, frozen=True):
    """A segment as it was looked at. key: whether it begins with a keyframe. seconds: of its first frame, since the
    film's; frames: (offset, objects) of each that is wanted.
    """

    n: int
    key: bool
    seconds: float
    duration: float
    bytes: int
    frames: list[tuple[float, list[DetectedObject]]]


class Film(msgspec.Struct, frozen=True):
    """small: grey pictures (frames, 48, 64) of the frames of all segments, one after the other."""

    segments: list[AnalysedSegment]
    small: list[NDArray[np.uint8]]
    visits: list[Visit]
    frames: int


def planned(case: Case) -> tuple[list[Visit], int]:
    count = int(case.minutes * 60 * footage.FPS)
    rng = np.random.default_rng((case.seed, 0))
    return visits.planned(case.wishes, count, cutouts.walks(), cutouts.cars(), rng), count


def looked(case: Case, folder: Path) -> Film:
    """A case's film. folder: where it is kept."""
    who, count = planned(case)
    key = hashlib.sha256(msgspec.json.encode((VERSION, case, RATES[case.rate]))).hexdigest()[:16]
    kept, pictures = folder / f"{case.name}-{key}.json", folder / f"{case.name}-{key}.npy"
    if not kept.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as work:
            pieces = made(case, Path(work) / "film.mp4")
        looks, small = _look(pieces)
        np.save(pictures, np.concatenate(small))
        part = kept.with_suffix(f".{os.getpid()}")
        part.write_bytes(msgspec.json.encode(looks))
        part.rename(kept)
    looks = msgspec.json.decode(kept.read_bytes(), type=list[AnalysedSegment])
    whole = np.load(pictures)
    ends = np.cumsum([len(look.frames) for look in looks])
    return Film(looks, np.split(whole, ends[:-1]), who, count)


def made(case: Case, path: Path) -> list[Piece]:
    """A case's video, as segments."""
    who, count = planned(case)
    return encoding.encoded(scene.frames(case.what, who, count, case.seed), RATES[case.rate], case.name, path)


@cache
def detector() -> Detector:
    return detectors.load("openvino:ssd_mobilenet_v2_coco", threads=2, min_score=LEAST_SCORE)


def _look(pieces: list[Piece]) -> tuple[list[AnalysedSegment], list[NDArray[np.uint8]]]:
    looks, small = [], []
    gop: list[bytes] = []
    for piece in pieces:
        head = piece.segment
        is_key = piece.gop == head.message_id
        gop = [] if is_key else gop
        seen: list[NDArray[np.uint8]] = []

        def see(_: float, grey: Image, into: list[NDArray[np.uint8]] = seen) -> bool:
            into.append(grey)
            return False

        found = decode(piece.payload, fps=FPS, size=detector().size, before=gop, probe=FrameProbe(SIZE, see))
        gop = [*gop, piece.payload]
        objects = detector().detect([p.pixels for p in found.pictures])
        frames = [(p.offset, o) for p, o in zip(found.pictures, objects, strict=True)]
        seconds = (head.start - footage.START).total_seconds()
        looks.append(AnalysedSegment(head.n, is_key, seconds, head.duration, piece.size, frames))
        small.append(np.stack(seen))
    return looks, small
