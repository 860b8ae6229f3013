"""The streams of a camera, and the subjects that their segments are published on."""

from __future__ import annotations

from enum import Enum

from shared.contract import names


class Stream(Enum):
    """MEDIA is analysed: the only stream of a camera, or its substream. MAIN: the main stream of a camera with a
    substream, which is recorded. The values are labels of metrics.
    """

    MEDIA = "media"
    MAIN = "main"

    def subject(self, camera: str) -> str:
        return names.main(camera) if self is Stream.MAIN else names.media(camera)
