"""What the API takes of a camera: its own settings, its address and its credentials."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from shared.contract.names import Token

Url = Annotated[str, Meta(min_length=1, max_length=2048, description="rtsp://host/path, or rtsps://")]
_Name = Annotated[str, Meta(max_length=128)]
_Label = Annotated[str, Meta(min_length=1, max_length=64)]


class Own(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A camera's own settings. null: as if it had none."""

    user: _Name | UnsetType | None = UNSET
    password: _Name | UnsetType | None = UNSET
    enabled: bool | UnsetType | None = UNSET
    transport: Literal["tcp", "udp"] | UnsetType | None = UNSET
    verify_tls: bool | UnsetType | None = UNSET
    realtime: bool | UnsetType | None = UNSET
    loop: bool | UnsetType | None = UNSET
    priority: Literal["high"] | UnsetType | None = UNSET
    always: bool | UnsetType | None = UNSET
    fps: float | UnsetType | None = UNSET
    min_score: float | UnsetType | None = UNSET
    classes: Annotated[list[_Label], Meta(min_length=1, max_length=1000)] | UnsetType | None = UNSET
    tiles: str | UnsetType | None = UNSET
    caption_every_s: float | UnsetType | None = UNSET
    caption_prompt: str | UnsetType | None = UNSET

    def given(self) -> dict[str, Any]:
        """What is said, by its name."""
        return {name: value for name in self.__struct_fields__ if (value := getattr(self, name)) is not UNSET}


class NewCamera(Own, frozen=True, kw_only=True):
    """A camera that is to be added. url: may hold credentials, which are kept apart."""

    id: Token
    url: Url


class ChangedCamera(Own, frozen=True, kw_only=True):
    """What is to be changed of a camera. A password of null forgets its credentials.

    url: its credentials stay where scheme, host and port are the same.
    """

    url: Url | UnsetType = UNSET


class TriedCamera(Own, frozen=True, kw_only=True):
    """A camera that is to be opened once. camera: one that there is, with what is to be changed of it; or `url`."""

    camera: Token | None = None
    url: Url | UnsetType = UNSET
