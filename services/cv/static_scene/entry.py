"""A scene as the bucket `scenes` holds it: some kB a camera, which any replica may have written. Pure.

data = encode(scene, made)
scene = decode(data, made, now=segment.start)            # raises BadScene with the reason

The bucket is no authority: what is of another version, of another detector or impossible is refused, and learned anew.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta

from services.cv.static_scene.noise import TUNING as NOISE
from services.cv.static_scene.noise import Noise
from services.cv.static_scene.picture import SHAPE, Floats
from services.cv.static_scene.scene import TUNING, ReferenceFrame, Scene
from shared.contract.events import DetectedObject
from shared.runtime.errors import TidegateError

VERSION = 1
# A look with more than this many objects in a frame, or frames, is not shared.
MOST_OBJECTS, MOST_FRAMES = 50, 64
# Larger entries are not read.
MOST_BYTES = 256 * 1024
# A look may be ahead of the segment that it is compared with by this much: segments are not looked at in order.
_AHEAD_S = 60.0
# Deviations are kept in steps of this many levels of grey.
_STEP = 0.125
# By so much half of the blocks of no scene change by themselves, in levels: whoever says so would have us see nothing.
# The worst of `make bench-static-scene` has 1.3.
_MOST_MEDIAN = 8.0
_BLOCKS = SHAPE[0] * SHAPE[1]

_Plane = Annotated[bytes, Meta(min_length=_BLOCKS, max_length=_BLOCKS)]
_Frame = Annotated[list[DetectedObject], Meta(max_length=MOST_OBJECTS)]


class BadScene(TidegateError):
    """An entry of `scenes` that is not used. The text is the reason."""


class _ReferenceFrame(msgspec.Struct, frozen=True, array_like=True):
    since: float
    times: Annotated[float, Meta(ge=0, le=1)]
    picture: _Plane
    frames: Annotated[list[_Frame], Meta(min_length=1, max_length=MOST_FRAMES)]


class _Entry(msgspec.Struct, frozen=True):
    """made: what looks depend on besides the picture. deviation: in steps. pictures: that it was learned from."""

    version: int
    made: Annotated[str, Meta(max_length=1000)]
    deviation: _Plane
    pictures: Annotated[float, Meta(ge=0, le=NOISE.memory)]
    looks: Annotated[list[_ReferenceFrame], Meta(max_length=TUNING.looks)]


class _Version(msgspec.Struct, frozen=True):
    version: int


def encode(scene: Scene, made: str) -> bytes:
    looks = [
        _ReferenceFrame(one.since, one.times, _levels(one.picture), [list(frame) for frame in one.frames])
        for one in scene.looks
        if _is_small(one)
    ]
    steps = _levels(scene.noise.deviation / _STEP)
    return msgspec.msgpack.encode(_Entry(VERSION, made, steps, scene.noise.pictures, looks))


def decode(data: bytes, made: str, now: float) -> Scene:
    """Raises BadScene. made: as this replica makes them. now: start of the segment that it is for, Unix seconds."""
    if len(data) > MOST_BYTES:
        raise BadScene(f"it has {len(data)} bytes, where {MOST_BYTES} are the most")
    try:
        if (version := msgspec.msgpack.decode(data, type=_Version).version) != VERSION:
            raise BadScene(f"it is of version {version}, and this is version {VERSION}")
        entry = msgspec.msgpack.decode(data, type=_Entry)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        raise BadScene(f"it can't be read: {e}") from e
    if entry.made != made:
        raise BadScene("it was made with another detector, or other settings of the camera")
    deviation = _plane(entry.deviation) * _STEP
    if deviation.min() < NOISE.least - _STEP or deviation.max() > NOISE.most:
        raise BadScene(f"its deviations are not between {NOISE.least:g} and {NOISE.most:g} levels")
    if np.median(deviation) > _MOST_MEDIAN:
        raise BadScene(f"half of its blocks change by more than {_MOST_MEDIAN:g} levels by themselves: no scene does")
    for look in entry.looks:
        # Written so that what is no number fails, too.
        if not 0 <= look.since <= now + _AHEAD_S:
            raise BadScene("it has a look from the future")
    looks = tuple(ReferenceFrame(one.since, _plane(one.picture), one.frames, one.times) for one in entry.looks)
    return Scene(Noise((deviation**2).astype(np.float32), entry.pictures), looks)


def _is_small(look: ReferenceFrame) -> bool:
    return len(look.frames) <= MOST_FRAMES and all(len(frame) <= MOST_OBJECTS for frame in look.frames)


def _levels(plane: Floats) -> bytes:
    return np.rint(plane).clip(0, 255).astype(np.uint8).tobytes()


def _plane(data: bytes) -> Floats:
    return np.frombuffer(data, np.uint8).reshape(SHAPE).astype(np.float32)
