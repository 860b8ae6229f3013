"""Bounds a single libav allocation: a camera decides how long its description is, and when a picture ends.

libav gathers either until it is whole, up to 2 GB, and a reader outside can't stop it meanwhile. Its own bound on an
allocation can: over it, the picture is dropped, or the connection fails. The bound holds for the whole process.
"""

from __future__ import annotations

import ctypes

import av

from shared.contract.memory import MB

# A camera's frame is published in one message: libav may gather twice what a usual server takes in one.
CAMERA_BYTES = 16 * MB
# libav lists a file's frames as it opens it: some 40 MB for a day.
FILE_BYTES = 256 * MB

_bound = 0


def bound(size: int = CAMERA_BYTES) -> None:
    """Limit each libav allocation of this process to `size` bytes."""
    global _bound
    # PyAV has no function for it. Its modules are linked with libav, so the symbol is found through one of them.
    set_bound = ctypes.CDLL(av._core.__file__).av_max_alloc
    set_bound.argtypes, set_bound.restype = [ctypes.c_size_t], None
    set_bound(size)
    _bound = size


def allow_a_file() -> None:
    """Raise the limit to what a file needs, if it is lower."""
    if 0 < _bound < FILE_BYTES:
        bound(FILE_BYTES)
