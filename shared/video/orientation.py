"""The orientation of a frame. Pure.

An upright telephone films sideways, and stores the rotation: in the matrix of an MP4's track, or in a display
orientation message of H.264 and H.265.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from av.sidedata.sidedata import Type
from av.video.frame import VideoFrame
from numpy.typing import NDArray


class Orientation(NamedTuple):
    """The transform to upright: swap the axes, then mirror, then turn upside down."""

    swapped: bool = False
    mirrored: bool = False
    flipped: bool = False

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Return (width, height) of a frame once it is upright; and of an upright one as it was stored."""
        return (height, width) if self.swapped else (width, height)

    def upright(self, pixels: NDArray[Any]) -> NDArray[np.uint8]:
        """Return a frame of shape (height, width, 3), upright, contiguous."""
        turned = pixels.swapaxes(0, 1) if self.swapped else pixels
        return np.ascontiguousarray(turned[:: -1 if self.flipped else 1, :: -1 if self.mirrored else 1], np.uint8)


AS_STORED = Orientation()


def of(frame: VideoFrame) -> Orientation | None:
    """Return the orientation in a frame's metadata; None if it has none."""
    try:
        data: Mapping[Any, Any] = frame.side_data
    except ValueError:
        # PyAV can't list unknown side data, such as a photograph's Exif. It still has the rotation, but not the
        # mirroring.
        return _TURNS[round(frame.rotation / 90) % 4]
    return from_matrix(bytes(data[Type.DISPLAYMATRIX])) if Type.DISPLAYMATRIX in data else None


# By the number of right angles, counterclockwise.
_TURNS = (None, Orientation(True, False, True), Orientation(False, True, True), Orientation(True, True, False))


def from_matrix(data: bytes) -> Orientation:
    """Parse libav's display matrix: nine int32 a b u c d v x y w, which map the point (p, q) to (ap + cq, bp + dq).

    https://ffmpeg.org/doxygen/trunk/group__lavu__video__display.html. A rotation by less than a right angle is ignored.
    """
    a, b, _, c, d, *_ = struct.unpack("=9i", data)
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return Orientation(False, a < 0, d < 0)
    return Orientation(True, c < 0, b < 0)
