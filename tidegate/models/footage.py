"""Segments to measure on, with what they need to be decoded. Pure.

Example:
    found = parts((p.segment, p.payload, not p.dependent) for p in pieces)
    images = pictures(found[0], detector, fps=5)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from services.cv.detectors import Detector
from services.cv.looking import images_of
from services.cv.tiles import Grid
from shared.contract.segment import Segment
from shared.video.decode import Decoded, Image, decode

_WHOLE = Grid.of("1x1")


class Part(NamedTuple):
    """A segment. before: the payloads of its GOP's earlier segments, the oldest first."""

    segment: Segment
    payload: bytes
    before: tuple[bytes, ...] = ()

    def decoded(self, *, fps: float, size: tuple[int, int] | None, within: tuple[int, int] | None) -> Decoded:
        """Return its pictures as `shared.video.decode` does. Raises BadSegment and OverBudget."""
        return decode(self.payload, before=self.before, fps=fps, size=size, within=within, frames=self.segment.frames)

    def decoded_at(self, at: Sequence[float], *, within: tuple[int, int] | None) -> Decoded:
        """Return the pictures nearest to the offsets `at`, in seconds. Raises BadSegment and OverBudget."""
        return decode(self.payload, before=self.before, at=at, within=within, frames=self.segment.frames)


class Footage(NamedTuple):
    """source: where it is from, in words."""

    parts: list[Part]
    source: str

    @property
    def segment_s(self) -> float:
        """The mean seconds of video in a segment."""
        return sum(part.segment.duration for part in self.parts) / len(self.parts)


def parts(stored: Iterable[tuple[Segment, bytes, bool]]) -> list[Part]:
    """Return consecutive segments (head, payload, whether decoding may begin with it), from the first such one on."""
    found: list[Part] = []
    earlier: list[bytes] = []
    for head, payload, begins in stored:
        if begins:
            earlier.clear()
        if begins or earlier:
            found.append(Part(head, payload, tuple(earlier)))
            earlier.append(payload)
    return found


def pictures(part: Part, detector: Detector, fps: float) -> list[Image]:
    """Return the images that a worker gives to its detector. Raises BadSegment and OverBudget."""
    decoded = part.decoded(fps=fps, size=detector.size, within=detector.within)
    return images_of(decoded, _WHOLE, detector.size)
