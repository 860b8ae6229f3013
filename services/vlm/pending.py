"""The segments that wait in the consumer for the end of their stretches: one a stretch, and a limit on all. Pure.

A segment that waits counts against the consumer's unacknowledged messages. Without a limit, one process that publishes
segments could stop the planning of all cameras.
"""

from __future__ import annotations

from services.vlm.stretches import CaptionStretch

# A camera's stretches of five minutes that end every few seconds.
MOST_OF_A_CAMERA = 128
# Of cameras without an entry, together.
MOST_UNLISTED = 256

_Span = tuple[float, float]


class PendingSegments:
    """See the module. By camera: the sequence in MEDIA of the segment that waits for each row of stretches."""

    def __init__(self) -> None:
        self._listed: dict[str, dict[_Span, int]] = {}
        self._unlisted: dict[str, dict[_Span, int]] = {}

    def add(self, camera: str, stretches: list[CaptionStretch], seq: int, now: float, *, is_listed: bool) -> bool:
        """Return whether this segment waits. No: another waits for the same stretches, or too many wait already.

        now: Unix seconds. A segment that waits already, and is delivered again, still waits.
        """
        span = stretches[0].end.timestamp(), stretches[-1].end.timestamp()
        of = self._listed if is_listed else self._unlisted
        spans = of.get(camera, {})
        for ended in [s for s in spans if s[1] < now]:
            del spans[ended]
        if span in spans:
            return spans[span] == seq
        if len(spans) >= MOST_OF_A_CAMERA or (not is_listed and self._count_unlisted(now) >= MOST_UNLISTED):
            return False
        spans[span] = seq
        of[camera] = spans
        return True

    def _count_unlisted(self, now: float) -> int:
        for camera, spans in list(self._unlisted.items()):
            if all(end < now for _, end in spans):
                del self._unlisted[camera]
        return sum(map(len, self._unlisted.values()))
