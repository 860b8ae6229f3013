"""The seam for segments that need no inference: a policy checks each, and answers with former objects."""

from __future__ import annotations

from typing import Any, Protocol

from services.cv.looking import Wants
from shared.contract.events import DetectedObject
from shared.contract.segment import Segment
from shared.video.decode import FrameProbe
from shared.worker import Message


class Match(Protocol):
    """A former inference whose objects are still there."""

    @property
    def since(self) -> float:
        """The time of its segment, Unix seconds by the camera's clock."""

    def objects(self, count: int) -> list[list[DetectedObject]]:
        """Return the objects of `count` frames."""


class Check(Protocol):
    """The check of one segment. match: None if it needs an inference; known once it is decoded."""

    @property
    def probe(self) -> FrameProbe: ...

    @property
    def match(self) -> Match | None: ...


class SkipPolicy(Protocol):
    """Decides which segments need no inference."""

    async def begin(self, message: Message, head: Segment, wants: Wants, model: str) -> Check:
        """Begin the check of a segment. model: that would analyse it, as in events."""

    def record_result(self, check: Any, frames: list[list[DetectedObject]], images: int) -> None:
        """Learn from a stored result. frames: the objects of each frame. images: the detector's inputs for them."""
