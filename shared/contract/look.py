"""What `python -m services.ingest.look` is asked on standard input, and what it answers on standard output: JSON. Pure.

It opens a camera once, as ingest would, in a process that ends with the answer: whoever asks never reads what a camera
sends, and a password stands in no argument.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from shared.runtime.errors import TidegateError

MODULE = "services.ingest.look"
# The process ends by itself after so many seconds, whatever the camera does.
LONGEST_S = 10.0


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """url: of a camera, without credentials. secret: those, if any. transport, verify_tls: see `cameras.Camera`."""

    url: str
    secret: str | None = None
    transport: Literal["tcp", "udp"] = "tcp"
    verify_tls: bool = True

    def __post_init__(self) -> None:
        # A file would be one of the machine that opens it.
        if not self.url.lower().startswith(("rtsp://", "rtsps://")):
            raise ValueError("url is no rtsp:// and no rtsps://")


class Seen(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The camera shows something. width, height: of the video, upright. jpeg: its first picture, scaled down."""

    codec: str
    width: int
    height: int
    fps: float
    jpeg: bytes


class Unseen(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """It does not. cause: a word, by which programs tell reasons apart. reason: a sentence without credentials."""

    cause: str
    reason: str


def decode(answer: bytes) -> Seen | Unseen:
    """Raises TidegateError for what is no answer."""
    try:
        found: Seen | Unseen = msgspec.json.decode(answer, type=Seen | Unseen)
    except (ValueError, RecursionError) as e:
        raise TidegateError("the process that opens the camera has failed: try again, and see the log") from e
    return found


def encode(question: Asked) -> bytes:
    return msgspec.json.encode(question)
