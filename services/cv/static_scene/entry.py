"""A scene in the format of the bucket `scenes`: some kB per camera, from any replica. Pure.

    data = encode(scene, fingerprint)
    scene = decode(data, fingerprint, now=segment.start)     # raises BadScene with the reason

The bucket is no authority: an entry of another version or detector, or an impossible one, is refused, and learned
again.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta

from services.cv.static_scene.scene import MAX_REFERENCES, ReferenceFrame, Scene
from shared.contract.events import DetectedObject
from shared.runtime.errors import TidegateError
from shared.static_scene.noise import MAX_DEVIATION, MEMORY_PICTURES, MIN_DEVIATION, Noise
from shared.static_scene.picture import SHAPE, Floats

VERSION = 1
# A reference with more objects per frame, or more frames, is not shared.
MOST_OBJECTS, MOST_FRAMES = 50, 64
# Larger entries are not read. A reference of more than its share is not shared.
MOST_BYTES = 256 * 1024
_MOST_REFERENCE_BYTES = MOST_BYTES // (MAX_REFERENCES + 1)
# A reference may be this much later than the segment in the comparison: segments are not analysed in order.
_AHEAD_S = 60.0
# Deviations are stored in steps of this many levels of grey.
_STEP = 0.125
# In no scene do half of the blocks have this much noise, in levels: such an entry would blind us. The worst of `make
# bench-static-scene` has 1.3.
_MOST_MEDIAN = 8.0
_BLOCKS = SHAPE[0] * SHAPE[1]

_Plane = Annotated[bytes, Meta(min_length=_BLOCKS, max_length=_BLOCKS)]
_Frame = Annotated[list[DetectedObject], Meta(max_length=MOST_OBJECTS)]


class BadScene(TidegateError):
    """An unusable entry of `scenes`. The text is the reason."""


class _ReferenceFrame(msgspec.Struct, frozen=True, array_like=True):
    """An array: a field at its end is ignored by replicas that do not know it, and may be missing in their entries."""

    since: float
    times: Annotated[float, Meta(ge=0, le=1)]
    picture: _Plane
    frames: Annotated[list[_Frame], Meta(min_length=1, max_length=MOST_FRAMES)]
    doubted: _Frame = []


class _Entry(msgspec.Struct, frozen=True):
    """fingerprint: of the references. deviation: in steps. pictures: the number that it was learned from."""

    version: int
    fingerprint: Annotated[str, Meta(max_length=1000)] = msgspec.field(name="made")
    deviation: _Plane
    pictures: Annotated[float, Meta(ge=0, le=MEMORY_PICTURES)]
    references: Annotated[list[_ReferenceFrame], Meta(max_length=MAX_REFERENCES)] = msgspec.field(name="looks")


class _Version(msgspec.Struct, frozen=True):
    version: int


def encode(scene: Scene, fingerprint: str) -> bytes:
    """Encode a scene that is not restless: `decode` accepts the entry."""
    references = [
        _ReferenceFrame(
            one.since, one.times, _levels(one.picture), [list(frame) for frame in one.frames], list(one.doubted)
        )
        for one in scene.references
    ]
    steps = _levels(scene.noise.deviation / _STEP)
    small = [one for one in references if _is_small(one)]
    return msgspec.msgpack.encode(_Entry(VERSION, fingerprint, steps, scene.noise.pictures, small))


def decode(data: bytes, fingerprint: str, now: float) -> Scene:
    """Decode an entry. Raises BadScene. fingerprint: this replica's. now: of the current segment, Unix seconds."""
    if len(data) > MOST_BYTES:
        raise BadScene(f"it has {len(data)} bytes, where {MOST_BYTES} are the most")
    try:
        if (version := msgspec.msgpack.decode(data, type=_Version).version) != VERSION:
            raise BadScene(f"it is of version {version}, and this is version {VERSION}")
        entry = msgspec.msgpack.decode(data, type=_Entry)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        raise BadScene(f"it can't be read: {e}") from e
    if entry.fingerprint != fingerprint:
        raise BadScene("it was made with another detector, or other settings of the camera")
    deviation = _plane(entry.deviation) * _STEP
    if deviation.min() < MIN_DEVIATION - _STEP or deviation.max() > MAX_DEVIATION:
        raise BadScene(f"its deviations are not between {MIN_DEVIATION:g} and {MAX_DEVIATION:g} levels")
    if np.median(deviation) > _MOST_MEDIAN:
        raise BadScene(f"half of its blocks change by more than {_MOST_MEDIAN:g} levels by themselves: no scene does")
    for reference in entry.references:
        # Written so that NaN fails, too.
        if not 0 <= reference.since <= now + _AHEAD_S:
            raise BadScene("a reference is from the future")
    references = tuple(
        ReferenceFrame(one.since, _plane(one.picture), one.frames, one.times, one.doubted) for one in entry.references
    )
    return Scene(Noise((deviation**2).astype(np.float32), entry.pictures), references)


def _is_small(reference: _ReferenceFrame) -> bool:
    return (
        len(reference.frames) <= MOST_FRAMES
        and all(len(frame) <= MOST_OBJECTS for frame in (*reference.frames, reference.doubted))
        and len(msgspec.msgpack.encode(reference)) <= _MOST_REFERENCE_BYTES
    )


def _levels(plane: Floats) -> bytes:
    return np.rint(plane).clip(0, 255).astype(np.uint8).tobytes()


def _plane(data: bytes) -> Floats:
    return np.frombuffer(data, np.uint8).reshape(SHAPE).astype(np.float32)
