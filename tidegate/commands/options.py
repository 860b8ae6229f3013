"""Options, their types, and the connection of commands. It imports little, because every command imports it."""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from shared.runtime import install
from shared.runtime.errors import BusError, SettingError

if TYPE_CHECKING:
    from rich.console import Console

    from shared.bus.client import Connection

Option = Callable[[Callable[..., Any]], Callable[..., Any]]

TIME = "90s, 15m, 1h30m or 2d ago; 13:05 today; or 2026-11-24T13:05:00Z"
# Types of paths to read or to write.
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
NEW_FILE = click.Path(dir_okay=False, path_type=Path)
FOLDER = click.Path(file_okay=False, path_type=Path)


class Number(click.FloatRange):
    """A finite number within bounds: `nan` and `inf` would pass a comparison."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is no finite number", param, ctx)
        return number


OVER_ZERO = Number(0, min_open=True)
# Values beyond these bounds are typing errors, and would overflow in products.
RATE = Number(1e-4, 1e6)
SECONDS = Number(1e-3, 1e7)
COUNT, COUNT_OR_NONE = click.IntRange(1, 1_000_000), click.IntRange(0, 1_000_000)


def combined(*options: Option) -> Option:
    """Return a decorator that adds these options, in this order."""

    def add(function: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            function = option(function)
        return function

    return add


data_option = click.option(
    "--data",
    type=FOLDER,
    default=None,
    help="Data directory of 'tidegate up'. Default: TIDEGATE_DATA, or ~/.tidegate. "
    "If NATS_URL is set, commands connect to that server instead.",
)
force_option = click.option("--force", is_flag=True, help="Store it also for a camera that does not exist yet.")
# The options of a question about a camera's time range.
stretch_options = combined(
    data_option,
    click.option("--camera", required=True, help="Camera to ask about."),
    click.option("--since", metavar="TIME", help=f"Start of the time range: {TIME}."),
    click.option("--until", metavar="TIME", help="End of the time range, in the same formats. Default: now."),
    click.option(
        "--wait", type=Number(1, 600), default=300, show_default=True, help="Maximum seconds to wait for the reply."
    ),
    click.option("--json", "as_json", is_flag=True, help="Print the event as JSON."),
)


def connected(function: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., Any]:
    """Add --data to a command's coroutine, and call it with a connection as admin before its arguments."""

    @functools.wraps(function)
    def command(data: Path | None, **arguments: Any) -> None:
        with_admin(data, lambda client: function(client, **arguments))

    return data_option(command)


@contextlib.contextmanager
def extra(name: str, what: str) -> Iterator[None]:
    """Wrap imports that need an extra. Raise SettingError if it is not installed. what: the feature that needs it."""
    try:
        yield
    except ModuleNotFoundError as e:
        raise SettingError(f"{what} needs {e.name}, which is not installed: {install.command(name)}") from e


def screen() -> Console:
    """Return standard output, with its present width."""
    from tidegate.view.screen import Screen

    return Screen()


def with_admin(
    data: Path | None, work: Callable[[Connection], Coroutine[Any, Any, None]], *, wait_s: float = 5.0
) -> None:
    """Connect as admin, do the work, close. wait_s: for a server that is still starting. Raise TidegateError."""
    import asyncio

    from shared.runtime import telemetry
    from tidegate.local import running

    async def run_work() -> None:
        client = await running.connect(data or running.default_data(), wait_s=wait_s)
        try:
            async with client.denials_raised():
                await work(client)
        finally:
            await client.close()

    telemetry.log_aside()
    with server_errors():
        asyncio.run(run_work())


@contextlib.contextmanager
def server_errors() -> Iterator[None]:
    """Turn errors of JetStream and of the connection into BusError, whose sentence has the remedy."""
    import nats.errors
    from nats.js.errors import APIError, NotFoundError

    from shared.contract.reading.missing import Unread

    try:
        yield
    except NotFoundError as e:
        raise BusError(f"the server has no such stream or consumer ({e.description}): run 'tidegate setup'") from e
    except APIError as e:
        raise BusError(f"JetStream refuses ({e.description or e}): 'tidegate doctor' shows what is there") from e
    except Unread as e:
        raise BusError(str(e)) from e
    except (TimeoutError, nats.errors.Error) as e:
        raise BusError(
            "the server does not answer what this command asks: see that JetStream is enabled there, and that "
            "NATS_USER may ask ('tidegate doctor' shows what is there)"
        ) from e
