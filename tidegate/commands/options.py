"""What commands that talk to a server have in common."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import click
from nats.aio.client import Client

from tidegate.local import stack


def data_option(function: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--data",
        type=click.Path(path_type=Path, file_okay=False),
        default=None,
        help="Data directory of 'tidegate up'. Default: TIDEGATE_DATA, or ~/.tidegate. NATS_URL goes before it.",
    )(function)


def with_admin(data: Path | None, work: Callable[[Client], Coroutine[Any, Any, None]]) -> None:
    """Connect as admin, do the work, close."""

    async def go() -> None:
        client = await stack.connect(data or stack.default_data())
        try:
            await work(client)
        finally:
            await client.close()

    asyncio.run(go())
