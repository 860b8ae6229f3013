"""Which way up a frame is shown. Pure.

A telephone that is held upright films sideways, and says how to turn what it stored: by the matrix of an MP4's track,
or by a display orientation message in H.264 and H.265 themselves.
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
    """What makes a stored frame upright: its axes are swapped, then it is mirrored, then turned upside down."""

    swapped: bool = False
    mirrored: bool = False
    flipped: bool = False

    def size(self, width: int, height: int) -> tuple[int, int]:
        """(width, height) of a frame once it is upright; and of an upright one as it was stored."""
        return (height, width) if self.swapped else (width, height)

    def upright(self, pixels: NDArray[Any]) -> NDArray[np.uint8]:
        """A frame of shape (height, width, 3), turned, contiguous."""
        turned = pixels.swapaxes(0, 1) if self.swapped else pixels
        return np.ascontiguousarray(turned[:: -1 if self.flipped else 1, :: -1 if self.mirrored else 1], np.uint8)


AS_STORED = Orientation()


def of(frame: VideoFrame) -> Orientation | None:
    """What a frame says of itself; None where it says nothing."""
    try:
        data: Mapping[Any, Any] = frame.side_data
    except ValueError:
        # PyAV can't list side data of a kind that it does not know, such as a photograph's Exif. It tells the turn all
        # the same, though not whether the frame is mirrored too.
        return _TURNS[round(frame.rotation / 90) % 4]
    return from_matrix(bytes(data[Type.DISPLAYMATRIX])) if Type.DISPLAYMATRIX in data else None


# By the number of right angles against the clock.
_TURNS = (None, Orientation(True, False, True), Orientation(False, True, True), Orientation(True, True, False))


def from_matrix(data: bytes) -> Orientation:
    """From libav's display matrix: nine int32 a b u c d v x y w, which put the point (p, q) at (ap + cq, bp + dq).

    https://ffmpeg.org/doxygen/trunk/group__lavu__video__display.html. A turn by less than a right angle is none.
    """
    a, b, _, c, d, *_ = struct.unpack("=9i", data)
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return Orientation(False, a < 0, d < 0)
    return Orientation(True, c < 0, b < 0)
