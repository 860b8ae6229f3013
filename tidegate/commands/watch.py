"""`tidegate watch`: events as they come."""

from __future__ import annotations

from pathlib import Path

import click

from tidegate.commands.options import data_option, screen, with_admin


@click.command()
@data_option
@click.argument("subject", default=">")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def watch(data: Path | None, subject: str, as_json: bool) -> None:
    """Print events as they come: all, or those of SUBJECT such as 'detections', 'detections.lobby'.

    One that is said again, as after a crash, is printed once.
    """
    from tidegate.client.watch import run

    try:
        with_admin(data, lambda client: run(client, subject, as_json, screen()))
    except KeyboardInterrupt:
        pass
