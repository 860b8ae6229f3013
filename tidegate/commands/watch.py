"""`tidegate watch`: events as they come."""

from __future__ import annotations

from pathlib import Path

import click
from nats.aio.msg import Msg

from tidegate.client.watch import follow
from tidegate.commands.options import data_option, screen, with_admin
from tidegate.view.events import readable


@click.command()
@data_option
@click.argument("subject", default=">")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def watch(data: Path | None, subject: str, as_json: bool) -> None:
    """Print events as they come: all, or those of SUBJECT such as 'detections', 'detections.lobby'.

    One that is said again, as after a crash, is printed once.
    """
    out = screen()

    def show(message: Msg) -> None:
        if as_json:
            click.echo(message.data.decode())
        else:
            out.print(readable(message), soft_wrap=True, markup=False)

    try:
        with_admin(data, lambda client: follow(client, subject, show))
    except KeyboardInterrupt:
        pass
