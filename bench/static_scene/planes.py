"""Pictures as an encoder's planes: luma, and two of chroma at half its size."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

Plane = NDArray[np.uint8]


class Planes(NamedTuple):
    """The planes of a picture. y: (height, width). u, v: half of both."""

    y: Plane
    u: Plane
    v: Plane

    def cut(self, x: int, y: int, width: int, height: int) -> Planes:
        """Return a part, which must have even coordinates and sides."""
        half = slice(y // 2, (y + height) // 2), slice(x // 2, (x + width) // 2)
        return Planes(self.y[y : y + height, x : x + width], self.u[half], self.v[half])


def of(rgb: NDArray[np.uint8], size: tuple[int, int] | None = None) -> Planes:
    """Return the planes of an RGB picture, scaled to `size` (width, height) if set."""
    height, width = rgb.shape[:2]
    frame = VideoFrame.from_ndarray(np.ascontiguousarray(rgb), "rgb24")
    whole = VideoReformatter().reformat(frame, *(size or (width, height)), "yuv420p").to_ndarray()
    return split(whole)


def split(whole: NDArray[np.uint8]) -> Planes:
    """Return the planes of PyAV's array of a yuv420p frame."""
    width = whole.shape[1]
    height = whole.shape[0] * 2 // 3
    u, v = whole[height:].reshape(2, height // 2, width // 2)
    return Planes(whole[:height], u, v)


def frame(planes: Planes) -> VideoFrame:
    whole: Any = np.concatenate([planes.y.ravel(), planes.u.ravel(), planes.v.ravel()])
    return VideoFrame.from_ndarray(whole.reshape(-1, planes.y.shape[1]), "yuv420p")


def blend(below: Planes, above: Planes, alpha: NDArray[np.float32]) -> Planes:
    """Return `above` over `below`, both of one size. alpha: of luma, 0 to 1."""
    half = alpha[::2, ::2]

    def mixed(a: Plane, b: Plane, share: Any) -> Plane:
        return np.asarray(a + share * (b.astype(np.float32) - a), np.uint8)

    return Planes(mixed(below.y, above.y, alpha), mixed(below.u, above.u, half), mixed(below.v, above.v, half))
