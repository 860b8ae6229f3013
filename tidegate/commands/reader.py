"""`tidegate reader`: apps that read events at their own pace, each with rights of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from nats.aio.client import Client

from shared.client import registry
from shared.contract import readers as contract
from tidegate.commands import Group
from tidegate.commands.options import FOLDER, data_option, screen, with_admin
from tidegate.local import readers, tenants
from tidegate.local.running import default_data
from tidegate.view import records
from tidegate.view.inert import echo
from tidegate.view.records import Wrapped

FIELDS = ("reader", Wrapped("kinds"), Wrapped("cameras"), "user", "consumer", "password")


def accounts_option(function: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--accounts",
        "own",
        type=FOLDER,
        help="For the server that NATS_URL names: the folder that 'tidegate accounts' made for it.",
    )(data_option(function))


@click.group(cls=Group)
def reader() -> None:
    """Let an app of yours read events at its own pace: what comes while it is away waits for it.

    \b
    All events:             tidegate reader add archive
    Some of them:           tidegate reader add desk --kind alerts --kind incidents --camera lobby
    Who reads:              tidegate reader list

    docs/how-to/subscribe.md has an app in Python and in JavaScript.
    """


@reader.command("add")
@accounts_option
@click.option("--kind", "kinds", multiple=True, help="Let it read this kind of event; several times. Default: all.")
@click.option("--camera", "cameras", multiple=True, help="Let it read this camera's; several times. Default: all.")
@click.argument("name")
def add(data: Path | None, own: Path | None, name: str, kinds: tuple[str, ...], cameras: tuple[str, ...]) -> None:
    """Make the identity reader-NAME, a password for it, and its durable consumer of EVENTS.

    \b
    On this machine:        tidegate reader add desk --kind alerts --camera lobby
    On a server of yours:   NATS_URL=nats://10.0.0.4 NATS_USER=admin tidegate reader add desk --accounts secrets

    It reads what is stored from then on. It may do nothing else, and the others' rights stay as they are.
    """
    wanted = contract.new_reader(name, kinds, cameras)
    folder = readers.folder_of(data or default_data(), own)

    async def work(client: Client) -> None:
        with tenants.changing(folder):
            at = readers.place(data or default_data(), own)
            await readers.add(client, at, wanted)
        for camera in wanted.cameras:
            if sentence := await registry.missing(client.jetstream(), camera):
                echo(sentence, err=True)
        path = at.password_file(wanted)
        echo(f"reader {name}: reads {', '.join(wanted.subjects)}, from now on")
        echo(f"it connects as {path.name}, with the password in {path}, to its consumer {wanted.identity} of EVENTS")
        if own:
            echo(_to_do(folder))
        else:
            echo("the server that runs has taken it")

    with_admin(data, work)


@reader.command("list")
@accounts_option
def list_(data: Path | None, own: Path | None) -> None:
    """Show who reads, and what.

    \b
    For a person:           tidegate reader list
    """
    at = readers.place(data or default_data(), own)
    rows = [
        (r.name, ", ".join(r.kinds) or "all", ", ".join(r.cameras) or "all", path.name, r.identity, str(path))
        for r in at.tenant.readers
        for path in [at.password_file(r)]
    ]
    records.show(screen(), FIELDS, rows, "there are no readers: 'tidegate reader add NAME' makes one")


@reader.command("remove")
@accounts_option
@click.argument("name")
def remove(data: Path | None, own: Path | None, name: str) -> None:
    """Take a reader's right to connect, its consumer and its password.

    \b
    For good:               tidegate reader remove desk
    """
    folder = readers.folder_of(data or default_data(), own)

    async def work(client: Client) -> None:
        with tenants.changing(folder):
            await readers.remove(client, readers.place(data or default_data(), own), name)
        echo(f"reader {name}: removed")
        if own:
            echo(_to_do(folder))

    with_admin(data, work)


def _to_do(folder: Path) -> str:
    return f"{folder / tenants.BLOCK} says so to the server: {tenants.RELOAD}"
