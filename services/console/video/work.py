"""What a decoding child is asked and answers, with the length of each before it. Pure.

The child reads requests from its input and writes answers to its output, one after the other.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from shared.contract.events import Box

# A length takes so many bytes; no request is larger than a GOP may be.
LENGTH = 4
MOST_BYTES = 128 * 2**20
SMALLEST, LARGEST = 16, 4096
Width = Annotated[int, Meta(ge=SMALLEST, le=LARGEST, description="most pixels of a picture's width")]


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """A picture.

    tag: what its answer has too. payload: the segment. before: those that are decoded before it. offset: seconds from
    its first frame. frames: how many its header announces. boxes: to be outlined.
    """

    tag: int
    payload: bytes
    before: tuple[bytes, ...] = ()
    offset: float = 0.0
    frames: int = 1
    width: Width = 640
    boxes: tuple[Box, ...] = ()


class Made(msgspec.Struct, frozen=True, kw_only=True):
    """A JPEG, and the offset of the frame that it shows; or why there is none."""

    tag: int
    jpeg: bytes = b""
    offset: float = 0.0
    error: str = ""


_encode = msgspec.msgpack.Encoder().encode
wanted = msgspec.msgpack.Decoder(Wanted).decode
made = msgspec.msgpack.Decoder(Made).decode


def framed(message: Wanted | Made) -> bytes:
    data = _encode(message)
    return len(data).to_bytes(LENGTH, "big") + data
