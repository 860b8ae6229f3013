"""`tidegate watch`: events as they come."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import click
from nats.aio.client import Client
from nats.aio.msg import Msg
from rich.text import Text

from shared.client import registry
from tidegate.client.watch import follow, full
from tidegate.commands.options import data_option, screen, with_admin
from tidegate.view.events import readable
from tidegate.view.inert import echo


@click.command()
@data_option
@click.argument("subject", default=">")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
def watch(data: Path | None, subject: str, as_json: bool) -> None:
    """Print events as they come: all, or those of SUBJECT, which is a kind and may name a camera.

    \b
    All of them:            tidegate watch
    What is detected:       tidegate watch detections
    Alerts of a camera:     tidegate watch incidents.lobby
    For a program:          tidegate watch tracks.lobby --json | jq .tracks

    An event that is said again, as after a crash, is printed once. Ctrl-C ends it.
    """
    out = screen()
    whole = full(subject)

    def show(message: Msg) -> None:
        if as_json:
            # One line an event, however its publisher broke it into lines.
            echo(" ".join(message.data.decode(errors="replace").splitlines()))
        else:
            out.print(Text(readable(message)), soft_wrap=True)

    async def work(client: Client) -> None:
        camera = whole.rpartition(".")[2]
        if camera not in ("*", ">") and (sentence := await registry.missing(client.jetstream(), camera)):
            echo(f"{sentence}\nwaiting for its events all the same", err=True)
        # Ctrl-C is how watching ends.
        with contextlib.suppress(asyncio.CancelledError):
            await follow(client, whole, show)

    with_admin(data, work)
