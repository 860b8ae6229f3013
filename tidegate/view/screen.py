"""The terminal for tables and colours, in which foreign text is inert; and log lines redirected away from it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from shared.runtime import telemetry
from shared.runtime.plain import inert
from shared.runtime.settings import BusSettings

# Width of tables in a pipe or a file.
TABLE_WIDTH = 160


class Screen(Console):
    """rich's console, with every text made inert after layout. Emoji codes stay literal."""

    def __init__(self, *, highlight: bool = False, **options: object) -> None:
        super().__init__(highlight=highlight, emoji=False, **options)  # type: ignore[arg-type]

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            # Controls are rich's own, such as those of the cursor.
            text = segment.text if segment.control else inert(segment.text)
            yield segment if text is segment.text else Segment(text, segment.style)


@contextmanager
def logs_to(path: Path, service: str) -> Iterator[None]:
    """Write log lines to a file: the terminal is for users' output."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", buffering=1) as log, redirect_stderr(log):
        telemetry.configure(BusSettings(), service)
        yield
