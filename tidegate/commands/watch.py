"""`tidegate watch`: print events as they arrive."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path

import click
from nats.aio.client import Client
from nats.aio.msg import Msg
from rich.text import Text

from shared.client import registry
from shared.contract.events import KINDS
from shared.contract.reading.mistakes import nearest
from shared.runtime.errors import SettingError, TidegateError
from tidegate.commands.options import data_option, screen, with_admin
from tidegate.view.events import readable
from tidegate.view.inert import echo

# The number of remembered ids. After a crash a camera's last ten seconds are published again, an event or two a second:
# this is enough for a thousand cameras.
REMEMBERED = 20_000


@click.command()
@data_option
@click.argument("subject", default=">")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line.")
def watch(data: Path | None, subject: str, as_json: bool) -> None:
    """Print events as they arrive: all, or those of SUBJECT, a kind with an optional camera.

    \b
    All of them:            tidegate watch
    Detections:             tidegate watch detections
    Alerts of a camera:     tidegate watch incidents.lobby
    For a program:          tidegate watch tracks.lobby --json | jq .tracks

    A redelivered event is printed once. Ctrl-C ends the command.
    """
    out = screen()
    full_subject = full(subject)

    def show(message: Msg) -> None:
        if as_json:
            # One line per event, even if the publisher's JSON has line breaks.
            echo(" ".join(message.data.decode(errors="replace").splitlines()))
        else:
            out.print(Text(readable(message)), soft_wrap=True)

    async def work(client: Client) -> None:
        camera = full_subject.rpartition(".")[2]
        if camera not in ("*", ">") and (sentence := await registry.missing(client.jetstream(), camera)):
            echo(f"{sentence}\nwaiting for its events all the same", err=True)
        # Ctrl-C is the normal end.
        with contextlib.suppress(asyncio.CancelledError):
            await follow(client, full_subject, show)

    with_admin(data, work)


def full(subject: str) -> str:
    """Expand `>`, `detections`, `detections.lobby`, or a whole `events.…` to a subject of NATS. Raises SettingError."""
    whole = subject if subject.startswith("events.") else f"events.{subject}"
    tokens = whole.split(".")
    if not all(tokens) or any(c.isspace() for c in whole) or ">" in tokens[:-1]:
        raise SettingError(
            f"SUBJECT {subject!r} can't be used: give a kind and, after a dot, a camera, as in incidents.lobby"
        )
    kinds = {kind.kind.partition(".")[0] for kind in KINDS}
    if tokens[1] not in (*kinds, "*", ">"):
        raise SettingError(f"SUBJECT {subject!r}: there is no kind of event {tokens[1]!r}{nearest(tokens[1], kinds)}")
    return f"{whole}.>" if len(tokens) == 2 and tokens[1] != ">" else whole


async def follow(client: Client, subject: str, show: Callable[[Msg], None]) -> None:
    """Show each event of a subject from `full` once, until cancelled or the output closes.

    Raises TidegateError.
    """
    seen: dict[str, None] = {}
    printing: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def take(message: Msg) -> None:
        # The client would log an exception from here and continue; rich ends the process by SystemExit.
        try:
            if _is_new(message, seen):
                show(message)
        except (BrokenPipeError, SystemExit) as e:
            error: BaseException = e
        except OSError as e:
            error = TidegateError(f"standard output can't be written: {e.strerror}")
        else:
            return
        if not printing.done():
            printing.set_exception(error)

    await client.subscribe(subject, cb=take)
    await printing


def _is_new(message: Msg, seen: dict[str, None]) -> bool:
    """Return whether its id is new, and remember it."""
    if id := (message.headers or {}).get("ce-id"):
        # Events of different kinds may share an id: both are shown.
        key = f"{message.subject} {id}"
        if key in seen:
            return False
        seen[key] = None
        if len(seen) > REMEMBERED:
            del seen[next(iter(seen))]
    return True
