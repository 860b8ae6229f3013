"""The binary messages of live video: each has a small JSON head and an MP4. Pure.

4 bytes   length of the head
head      {"camera": "lobby", "kind": "media", "codec": "avc1.64001f", "seq": 7, "start": "…Z", "time": 61.0, …}
the rest  kind init: the MP4's head, once for each codec; kind media: a segment's fragments
"""

from __future__ import annotations

import datetime as dt
from typing import Literal, NamedTuple

import msgspec

from services.console.web.alike import alike
from shared.contract.segment import rfc3339


class Chunk(NamedTuple):
    """A segment for all viewers of its camera.

    begins: whether decoding may begin with it. init, codec: what a decoder needs before. start, duration: wall clock,
    and seconds. time: when its first picture is shown, in seconds of MSE's clock, which runs with the wall clock.
    """

    camera: str
    seq: int
    begins: bool
    init: bytes
    codec: str
    start: dt.datetime
    duration: float
    time: float
    data: bytes


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """The head of a message. dropped: segments that this slow browser did not get since the previous message."""

    camera: str
    kind: Literal["init", "media"]
    codec: str
    seq: int
    start: str
    duration: float
    time: float
    dropped: int = 0


def init(chunk: Chunk) -> bytes:
    """Return the init message that a decoder needs before a chunk."""
    return _message(chunk, "init", 0, chunk.init)


def media(chunk: Chunk, dropped: int) -> bytes:
    """Return the message with a chunk."""
    return _message(chunk, "media", dropped, chunk.data)


def _message(chunk: Chunk, kind: Literal["init", "media"], dropped: int, data: bytes) -> bytes:
    head = msgspec.json.encode(alike(Head, chunk, kind=kind, start=rfc3339(chunk.start), dropped=dropped))
    return b"".join((len(head).to_bytes(4, "big"), head, data))
