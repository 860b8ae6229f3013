"""`tidegate reader`: identities and durable consumers for apps that read events."""

from __future__ import annotations

import shlex
from pathlib import Path

import click
from nats.aio.client import Client

from shared.client import registry
from shared.contract.rights import readers as contract
from shared.runtime.errors import SettingError
from tidegate.commands import Group
from tidegate.commands.options import FOLDER, combined, data_option, force_option, screen, with_admin
from tidegate.local import readers, tenants
from tidegate.local.running import default_data, server_url
from tidegate.view import records
from tidegate.view.inert import echo
from tidegate.view.records import Wrapped

# The identity that may see everything live.
VIEWER = "viewer"
FIELDS = ("reader", Wrapped("kinds"), Wrapped("cameras"), "user", "consumer", "password")


accounts_option = combined(
    click.option("--accounts", type=FOLDER, help="Folder of 'tidegate accounts' for the server of NATS_URL."),
    data_option,
)


@click.group(cls=Group)
def reader() -> None:
    """Give your app a durable consumer of events: events wait while the app is offline.

    \b
    All events:             tidegate reader add archive
    Some of them:           tidegate reader add desk --kind alerts --kind incidents --camera lobby
    List readers:           tidegate reader list
    Variables for its app:  tidegate reader env desk

    docs/how-to/subscribe.md shows an app in Python and in JavaScript.
    """


@reader.command("add")
@accounts_option
@click.option("--kind", "kinds", multiple=True, help="Kind of event that it may read. May be repeated. Default: all.")
@click.option(
    "--camera", "cameras", multiple=True, help="Camera whose events it may read. May be repeated. Default: all."
)
@force_option
@click.argument("name")
def add(
    data: Path | None, accounts: Path | None, name: str, kinds: tuple[str, ...], cameras: tuple[str, ...], force: bool
) -> None:
    """Create the identity reader-NAME, its password, and its durable consumer of EVENTS.

    \b
    On this machine:        tidegate reader add desk --kind alerts --camera lobby
    On your own server:     NATS_URL=nats://10.0.0.4 NATS_USER=admin tidegate reader add desk --accounts secrets

    The consumer starts with the next event. The identity has no other rights, and all other rights stay.
    """
    entry = contract.new_reader(name, kinds, cameras)
    folder = readers.folder_of(data or default_data(), accounts)

    async def work(client: Client) -> None:
        if entry.cameras and not force:
            await registry.check(client.jetstream(), entry.cameras)
        with tenants.changing(folder):
            location = readers.place(data or default_data(), accounts)
            await readers.add(client, location, entry)
        path = location.password_file(entry)
        echo(f"reader {name}: reads {', '.join(entry.subjects)}, from now on")
        echo(f"it connects as {path.name}, with the password in {path}, to its consumer {entry.identity} of EVENTS")
        if accounts:
            echo(_reload_hint(folder))
        else:
            echo("the server that runs has taken it")

    with_admin(data, work)


@reader.command("list")
@accounts_option
def list_(data: Path | None, accounts: Path | None) -> None:
    """List readers and what they may read.

    \b
    All readers:            tidegate reader list
    """
    location = readers.place(data or default_data(), accounts)
    rows = [
        (r.name, ", ".join(r.kinds) or "all", ", ".join(r.cameras) or "all", path.name, r.identity, str(path))
        for r in location.tenant.readers
        for path in [location.password_file(r)]
    ]
    records.show(screen(), FIELDS, rows, "there are no readers: 'tidegate reader add NAME' makes one")


@reader.command("env")
@accounts_option
@click.argument("name", required=False)
def env(data: Path | None, accounts: Path | None, name: str | None) -> None:
    """Print the variables by which an app connects as a reader or, without NAME, as viewer.

    \b
    In the app's shell:     eval "$(tidegate reader env desk)"
    For live events:        eval "$(tidegate reader env)"
    """
    data = data or default_data()
    location = readers.place(data, accounts)
    path = location.folder / VIEWER
    if name is not None:
        found = [r for r in location.tenant.readers if r.name == name]
        if not found:
            raise SettingError(f"there is no reader {name}: 'tidegate reader add {name}' makes it")
        path = location.password_file(found[0])
    if not path.is_file():
        raise SettingError(f"there is no password in {path}: start 'tidegate up' once, which makes it")
    variables = {"NATS_URL": server_url(data), "NATS_USER": path.name, "NATS_PASSWORD_FILE": str(path.absolute())}
    for variable, value in variables.items():
        echo(f"export {variable}={shlex.quote(value)}")


@reader.command("remove")
@accounts_option
@click.argument("name")
def remove(data: Path | None, accounts: Path | None, name: str) -> None:
    """Remove a reader: its right to connect, its consumer and its password.

    \b
    Remove a reader:        tidegate reader remove desk
    """
    folder = readers.folder_of(data or default_data(), accounts)

    async def work(client: Client) -> None:
        with tenants.changing(folder):
            await readers.remove(client, readers.place(data or default_data(), accounts), name)
        echo(f"reader {name}: removed")
        if accounts:
            echo(_reload_hint(folder))

    with_admin(data, work)


def _reload_hint(folder: Path) -> str:
    return f"{folder / tenants.BLOCK} says so to the server: {tenants.RELOAD}"
