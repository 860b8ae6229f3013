"""What commands that talk to a server have in common."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import click
from nats.aio.client import Client
from rich.console import Console

from shared.runtime.errors import SettingError
from tidegate.local import running


def data_option(function: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--data",
        type=click.Path(path_type=Path, file_okay=False),
        default=None,
        help="Data directory of 'tidegate up'. Default: TIDEGATE_DATA, or ~/.tidegate. NATS_URL goes before it.",
    )(function)


def stretch_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options of what is asked about a camera's time."""
    for option in reversed(
        (
            click.option("--camera", required=True, help="Of this camera."),
            click.option("--since", metavar="TIME", help="90s, 15m, 1h30m or 2d ago; 13:05 today; or a full time."),
            click.option("--until", metavar="TIME", help="The same. Default: now."),
            click.option(
                "--wait", type=click.FloatRange(1, 600), default=300, show_default=True, help="Seconds for the answer."
            ),
            click.option("--json", "as_json", is_flag=True, help="The event, as JSON."),
        )
    ):
        function = option(function)
    return data_option(function)


@contextlib.contextmanager
def extra(name: str, what: str) -> Iterator[None]:
    """Around imports that need an extra. Raises SettingError where it is not installed. what: cannot be done then."""
    try:
        yield
    except ModuleNotFoundError as e:
        raise SettingError(f"{what} needs what is not installed ({e.name}): pip install 'tidegate[{name}]'") from e


def screen() -> Console:
    """Standard output, as wide as it is now."""
    return Console(highlight=False)


def with_admin(data: Path | None, work: Callable[[Client], Coroutine[Any, Any, None]]) -> None:
    """Connect as admin, do the work, close."""

    async def go() -> None:
        client = await running.connect(data or running.default_data())
        try:
            await work(client)
        finally:
            await client.close()

    asyncio.run(go())
