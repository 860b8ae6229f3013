"""Requests and answers of a decoding child, each with its length before it. Pure.

The child reads requests from its input and writes answers to its output, one after the other.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from shared.contract.events import Box
from shared.contract.geometry import Point

# Bytes of a length; no request is larger than a GOP may be.
LENGTH = 4
MOST_BYTES = 128 * 2**20
SMALLEST, LARGEST = 16, 4096
Width = Annotated[int, Meta(ge=SMALLEST, le=LARGEST, description="most pixels of a picture's width")]


class PictureRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request for a picture.

    tag: the answer repeats it. payload: the segment, or a picture that is only scaled. before: those that are decoded
    before it. offset: seconds from its first frame. frames: how many its header announces. boxes: to outline. masks:
    polygons to blacken, in shares of the upright picture. most_bytes: of the JPEG; 0: no limit.
    """

    tag: int
    payload: bytes
    before: tuple[bytes, ...] = ()
    offset: float = 0.0
    frames: int = 1
    width: Width = 640
    boxes: tuple[Box, ...] = ()
    masks: tuple[tuple[Point, ...], ...] = ()
    most_bytes: Annotated[int, Meta(ge=0)] = 0


class PictureAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A JPEG, and its frame's offset; or why there is none."""

    tag: int
    jpeg: bytes = b""
    offset: float = 0.0
    error: str = ""


_encode = msgspec.msgpack.Encoder().encode
decode_request = msgspec.msgpack.Decoder(PictureRequest).decode
decode_answer = msgspec.msgpack.Decoder(PictureAnswer).decode


def with_length(message: PictureRequest | PictureAnswer) -> bytes:
    data = _encode(message)
    return len(data).to_bytes(LENGTH, "big") + data
