"""The API's answers about cameras."""

from __future__ import annotations

from typing import Literal

import msgspec

from services.console.cameras.state_tracker import CameraState
from shared.contract.cameras import Camera
from shared.runtime.redact import redact


class CameraSettings(msgspec.Struct, frozen=True, kw_only=True):
    """A camera's own settings; None: the service's applies. See `tidegate camera add`. url, detect: redacted."""

    url: str
    detect: str | None
    enabled: bool
    transport: Literal["tcp", "udp"]
    verify_tls: bool
    realtime: bool
    loop: bool
    priority: Literal["high"] | None
    always: bool
    model: str | None
    fps: float | None
    min_score: float | None
    classes: list[str] | None
    tiles: str | None
    caption_every_s: float | None
    caption_prompt: str | None


class CameraList(msgspec.Struct, frozen=True, kw_only=True):
    """total: of all matches. next: the `after` of the next page; None if there are no more."""

    cameras: list[CameraState]
    total: int
    next: str | None = None


class OneCamera(msgspec.Struct, frozen=True, kw_only=True):
    """settings: None if its entry is invalid. has_credentials: None if the asker may not know. has_rules: whether there
    are any. notices: for the person who just changed it.
    """

    now: CameraState
    settings: CameraSettings | None
    has_credentials: bool | None = None
    has_rules: bool = False
    notices: list[str] = []


class OpenedCamera(msgspec.Struct, frozen=True, kw_only=True):
    """A tried camera. picture: a JPEG. error: why there is none; cause: the same as a word for programs.

    width, height: of the video. fps: of its first segment.
    """

    picture: bytes | None = None
    codec: str = ""
    width: int | None = None
    height: int | None = None
    fps: float | None = None
    cause: str = ""
    error: str = ""


def settings(camera: Camera) -> CameraSettings:
    fields = msgspec.structs.asdict(camera)
    detect = camera.detect and redact(camera.detect)
    return CameraSettings(**{**fields, "url": redact(camera.url), "detect": detect})
