"""What the API says of cameras."""

from __future__ import annotations

from typing import Literal

import msgspec

from services.console.cameras.sight import CameraState
from shared.contract.cameras import Camera
from shared.runtime.redact import redact


class CameraSettings(msgspec.Struct, frozen=True, kw_only=True):
    """A camera's own settings; None: the services' are taken. See `tidegate camera add`. url: without credentials."""

    url: str
    enabled: bool
    transport: Literal["tcp", "udp"]
    verify_tls: bool
    realtime: bool
    loop: bool
    priority: Literal["high"] | None
    always: bool
    fps: float | None
    min_score: float | None
    classes: list[str] | None
    tiles: str | None
    caption_every_s: float | None
    caption_prompt: str | None


class CameraList(msgspec.Struct, frozen=True, kw_only=True):
    """total: of all that match. next: the id to go on after; None where there are no more."""

    cameras: list[CameraState]
    total: int
    next: str | None = None


class OneCamera(msgspec.Struct, frozen=True, kw_only=True):
    """settings: None where its entry is none. has_credentials: None for whoever may not know. has_rules: whether there
    are any. notices: what whoever has just changed it should know.
    """

    now: CameraState
    settings: CameraSettings | None
    has_credentials: bool | None = None
    has_rules: bool = False
    notices: list[str] = []


class OpenedCamera(msgspec.Struct, frozen=True, kw_only=True):
    """What a camera showed. picture: a JPEG. error: why there is none; cause: a word for that, by which programs tell.

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
    return CameraSettings(**{**fields, "url": redact(camera.url)})
