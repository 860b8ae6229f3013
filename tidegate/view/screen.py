"""The terminal for tables and colours: foreign text in them is inert there."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from shared.runtime.plain import inert


class Screen(Console):
    """rich's console, with every text made inert after layout. Emoji codes stay literal."""

    def __init__(self, *, highlight: bool = False, **options: object) -> None:
        super().__init__(highlight=highlight, emoji=False, **options)  # type: ignore[arg-type]

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            # Controls are rich's own, such as those of the cursor.
            text = segment.text if segment.control else inert(segment.text)
            yield segment if text is segment.text else Segment(text, segment.style)
