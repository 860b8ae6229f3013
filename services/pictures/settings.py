"""The settings of `python -m services.pictures`, read from the environment."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from shared.runtime.settings import BusSettings


class PicturesSettings(BusSettings, frozen=True, kw_only=True):
    pictures_width: Annotated[
        int, Meta(ge=64, le=1920, description="most pixels of a picture's width; a picture has at most 256 KiB")
    ] = 1280
    pictures_decoders: Annotated[
        int, Meta(ge=1, le=16, description="processes that decode; one makes some ten pictures a second of 1080p")
    ] = 1
