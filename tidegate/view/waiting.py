"""Progress on standard error for work longer than a second."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from rich.console import Console

# Shorter waits show nothing.
QUIET_S = 1.0
# Log lines come less often than updates of a terminal's line.
LINE_S = 5.0

T = TypeVar("T")
Tell = Callable[[str], None]


@contextmanager
def telling(console: Console | None = None) -> Iterator[Tell]:
    """Yield a function that shows progress: on a changing line or, without a terminal, every few seconds."""
    from rich.markup import escape

    from tidegate.view.screen import Screen

    out = console or Screen(stderr=True)
    if out.is_terminal:
        with out.status("") as status:
            yield lambda text: status.update(escape(text))
        return
    printed = time.monotonic() - LINE_S + QUIET_S

    def tell(text: str) -> None:
        nonlocal printed
        if time.monotonic() - printed >= LINE_S:
            printed = time.monotonic()
            out.print(text, markup=False, soft_wrap=True)

    yield tell


async def waited_for(work: Awaitable[T], doing: str) -> T:
    """Return its result. After a second, show that it is pending, and for how long."""
    task = asyncio.ensure_future(work)
    began = time.monotonic()
    try:
        await asyncio.wait({task}, timeout=QUIET_S)
        if not task.done():
            with telling() as tell:
                while not task.done():
                    tell(f"{doing} … {time.monotonic() - began:.0f} s")
                    await asyncio.wait({task}, timeout=QUIET_S)
        return await task
    finally:
        task.cancel()
