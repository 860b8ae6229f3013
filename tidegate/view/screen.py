"""The terminal that tables and colours go to: whatever others wrote in them is inert there."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from shared.runtime.inert import inert


class Screen(Console):
    """rich's console, with every text made inert after it was laid out. Emoji codes stay as they are written."""

    def __init__(self, *, highlight: bool = False, **options: object) -> None:
        super().__init__(highlight=highlight, emoji=False, **options)  # type: ignore[arg-type]

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            # Controls are rich's own, such as those of the cursor.
            text = segment.text if segment.control else inert(segment.text)
            yield segment if text is segment.text else Segment(text, segment.style)
