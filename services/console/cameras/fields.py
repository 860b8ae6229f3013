"""The API's request bodies: a camera's own settings, its address and its credentials."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from shared.contract.names import Token

Url = Annotated[str, Meta(min_length=1, max_length=2048, description="rtsp://host/path, or rtsps://")]
_Name = Annotated[str, Meta(max_length=128)]
_Label = Annotated[str, Meta(min_length=1, max_length=64)]


class Own(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A camera's own settings. null: unset. detect: its substream, which is analysed: a path, or a whole URL."""

    detect: Url | UnsetType | None = UNSET
    user: _Name | UnsetType | None = UNSET
    password: _Name | UnsetType | None = UNSET
    enabled: bool | UnsetType | None = UNSET
    transport: Literal["tcp", "udp"] | UnsetType | None = UNSET
    verify_tls: bool | UnsetType | None = UNSET
    realtime: bool | UnsetType | None = UNSET
    loop: bool | UnsetType | None = UNSET
    priority: Literal["high"] | UnsetType | None = UNSET
    always: bool | UnsetType | None = UNSET
    model: Token | UnsetType | None = UNSET
    fps: float | UnsetType | None = UNSET
    min_score: float | UnsetType | None = UNSET
    classes: Annotated[list[_Label], Meta(min_length=1, max_length=1000)] | UnsetType | None = UNSET
    tiles: str | UnsetType | None = UNSET
    caption_every_s: float | UnsetType | None = UNSET
    caption_prompt: str | UnsetType | None = UNSET

    def set_fields(self) -> dict[str, Any]:
        """Return the fields that the request sets."""
        return {name: value for name in self.__struct_fields__ if (value := getattr(self, name)) is not UNSET}


class NewCamera(Own, frozen=True, kw_only=True):
    """A camera to add. url: may hold credentials, which are stored separately."""

    id: Token
    url: Url


class ChangedCamera(Own, frozen=True, kw_only=True):
    """A change to a camera. A password of null removes its credentials.

    url: its credentials stay if scheme, host and port are the same.
    """

    url: Url | UnsetType = UNSET


class TriedCamera(Own, frozen=True, kw_only=True):
    """A camera to open once. camera: an existing one, with changes to it; or `url`."""

    camera: Token | None = None
    url: Url | UnsetType = UNSET
