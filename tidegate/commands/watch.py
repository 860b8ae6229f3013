"""`tidegate watch`: print events as they arrive."""

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
