"""The vectors of events: of length 1, little-endian float16. Pure.

Half precision takes half the bytes and moves a cosine by some 1e-4, far less than what separates two images.
"""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]


class TextQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The request of `svc.embed.text`. That of `svc.embed.image` is a picture's own bytes: a JPEG, PNG, WebP or BMP."""

    text: str


class Encoded(msgspec.Struct, frozen=True, kw_only=True):
    """The reply: a vector as in events, and its model."""

    model: str
    dimension: int
    vector: bytes


def normalise(vectors: Vectors) -> Vectors:
    """Return rows of length 1, (n, dimension). A row of zeros stays unchanged."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, np.finfo(np.float32).tiny), np.float32)


def pack(vector: Vectors) -> bytes:
    """Return a vector of length 1 as bytes."""
    return vector.astype("<f2").tobytes()


def unpack(data: bytes, dimension: int) -> Vectors:
    """Return the vector, (dimension,). Raises ValueError on a wrong number of values, or one that is not finite."""
    vector = np.frombuffer(data, "<f2").astype(np.float32) if len(data) % 2 == 0 else np.empty(0, np.float32)
    if vector.size != dimension:
        raise ValueError(f"a vector of {len(data)} bytes is not one of {dimension} float16 values")
    if not np.isfinite(vector).all():
        raise ValueError("a vector holds values that are not finite")
    return vector
