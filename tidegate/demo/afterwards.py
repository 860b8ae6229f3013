"""After the story: two cameras go on, with all that was recorded, until whoever looks at the pages has seen enough."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from rich.console import Console

from shared.client import registry
from shared.contract import cameras
from tidegate.demo.sizing import Load
from tidegate.demo.story import places
from tidegate.local.stack import Stack
from tidegate.view.up import show_console

CAMERAS = 2


async def stay(stack: Stack, urls: Sequence[str], load: Load, console: Console) -> None:
    """Until cancelled, or a part of the stack fails: raises its error."""
    js = stack.admin.jetstream()
    for place in places(urls, CAMERAS):
        entry, credentials = cameras.new_camera(place.url, fps=load.fps)
        await registry.put(js, place.id, entry, credentials)
    console.print()
    await show_console(stack, console)
    console.print("two of the cameras go on meanwhile; Ctrl-C ends all of it")
    await asyncio.gather(stack.failed(), asyncio.Event().wait())
