"""What a package needs to bring its own detector or embedding model.

    from tidegate.plugins import detector

    @detector(labels=["person"], size=(640, 640))
    def detect(images): ...

`tidegate model new` writes such a package.
"""

from __future__ import annotations

from services.cv.detectors import DetectorOptions
from services.cv.detectors.plugin import detector
from services.embed.models import EmbedderOptions
from services.embed.models.plugin import embedder

__all__ = ["DetectorOptions", "EmbedderOptions", "detector", "embedder"]
