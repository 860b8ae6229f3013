"""The JSON question and answer of `python -m services.ingest.look`, on standard input and output. Pure.

It opens a camera once, as ingest would, in a process that ends with the answer: the client never parses a camera's
data, and no argument has a password.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from shared.runtime.errors import TidegateError

MODULE = "services.ingest.look"
# The process ends itself after this many seconds, whatever the camera does.
LONGEST_S = 10.0


class ProbeRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request for a camera's first picture. url: without credentials. secret: its credentials, if any.

    transport, verify_tls: see `cameras.Camera`.
    """

    url: str
    secret: str | None = None
    transport: Literal["tcp", "udp"] = "tcp"
    verify_tls: bool = True

    def __post_init__(self) -> None:
        # A file URL would read a file of the machine that opens it.
        if not self.url.lower().startswith(("rtsp://", "rtsps://")):
            raise ValueError("url is no rtsp:// and no rtsps://")


class Seen(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The camera shows a picture. width, height: of the video, upright. jpeg: its first picture, scaled down."""

    codec: str
    width: int
    height: int
    fps: float
    jpeg: bytes


class Unseen(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The camera shows no picture. cause: a word for programs. reason: a sentence without credentials."""

    cause: str
    reason: str


def decode(answer: bytes) -> Seen | Unseen:
    """Decode an answer. Raises TidegateError for anything else."""
    try:
        found: Seen | Unseen = msgspec.json.decode(answer, type=Seen | Unseen)
    except (ValueError, RecursionError) as e:
        raise TidegateError("the process that opens the camera has failed: try again, and see the log") from e
    return found


def encode(request: ProbeRequest) -> bytes:
    return msgspec.json.encode(request)
