"""The request to the masking process, and its answer. Pure."""

from __future__ import annotations

import msgspec

from shared.contract.geometry import Point


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """A segment. begins: whether decoding may begin with it. start, seconds: after the first one's, and its length."""

    payload: bytes
    begins: bool
    start: float
    seconds: float


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Consecutive segments, and their masks: polygons of the upright picture."""

    parts: list[Part]
    masks: list[list[Point]]


class Masked(msgspec.Struct, frozen=True, kw_only=True):
    """A masked segment, or the error. late: seconds from its start to its first picture."""

    payload: bytes = b""
    late: float = 0.0
    error: str = ""


encode = msgspec.msgpack.Encoder().encode
decode_request = msgspec.msgpack.Decoder(Wanted).decode
decode_answer = msgspec.msgpack.Decoder(list[Masked]).decode
