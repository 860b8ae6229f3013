"""`tidegate console`: sign-in links for the console."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import click
from nats.aio.client import Client

from tidegate.commands import Group
from tidegate.commands.options import data_option, extra, with_admin
from tidegate.local.running import console_url, default_data
from tidegate.view.inert import echo


@click.group(cls=Group)
def console() -> None:
    """Create sign-in links for the console, which shows cameras, incidents, GPUs and costs."""


@console.command()
@click.argument("name", default="admin")
@click.option(
    "--role",
    type=click.Choice(["viewer", "operator", "admin"]),
    default="admin",
    show_default=True,
    help="Role of a new person; an existing person keeps their role.",
)
@data_option
def link(name: str, role: str, data: Path | None) -> None:
    """Print a link that signs NAME in. It works once, within a day.

    \b
    The first admin:     tidegate console link
    A viewer:            tidegate console link anna --role viewer
    """
    with extra("console", "the console"):
        from tidegate.client.console import address
        from tidegate.client.console import link as new

    async def work(client: Client) -> None:
        echo(address(console_url(data or default_data()), await new(client, name, cast("Any", role))))

    with_admin(data, work)
