"""After the scenario: two cameras stay online with the recorded data, for the console's pages, until Ctrl-C."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from rich.console import Console

from shared.client import registry
from shared.contract import cameras
from tidegate.demo.scenario import planned_cameras
from tidegate.demo.sizing import Load
from tidegate.local.stack import Stack
from tidegate.view.up import show_console

CAMERAS = 2


async def keep_cameras_online(stack: Stack, urls: Sequence[str], load: Load, console: Console) -> None:
    """Add two cameras and wait until cancelled. Raise the error of a part of the stack that fails."""
    js = stack.admin.jetstream()
    for planned in planned_cameras(urls, CAMERAS):
        entry, credentials = cameras.new_camera(planned.url, fps=load.fps)
        await registry.put(js, planned.id, entry, credentials)
    console.print()
    await show_console(stack, console)
    console.print("two of the cameras go on meanwhile; Ctrl-C ends all of it")
    await asyncio.gather(stack.failed(), asyncio.Event().wait())
