"""`tidegate export`: write the site file of a server."""

from __future__ import annotations

from pathlib import Path

import click
from nats.aio.client import Client

from shared.runtime.errors import SettingError
from shared.site import export as site_export
from shared.site import state
from tidegate.client.files import written
from tidegate.commands.apply import finder, site_options
from tidegate.commands.options import NEW_FILE, with_admin
from tidegate.view.inert import echo, one_line


@click.command()
@site_options
@click.option("--save", type=NEW_FILE, help="File to write, for you alone. Default: standard output.")
@click.option("--force", is_flag=True, help="Replace the file of --save.")
def export(data: Path | None, accounts: Path | None, save: Path | None, force: bool) -> None:
    """Write the site file of what runs: cameras, groups, rules, recording policies, readers and the webhook.

    \b
    Into a file:            tidegate export --save site.yaml
    To another server:      NATS_URL=nats://10.0.0.4 NATS_USER=admin tidegate apply -f site.yaml

    Variables such as ${SITE_LOBBY_PASSWORD} replace passwords. 'tidegate apply' leaves a stored password if its
    variable is not set.
    """
    if save and save.exists() and save.is_file() and not force:
        raise SettingError(f"--save {save} is there already: give --force to replace it")
    where = finder(data, accounts)

    async def work(client: Client) -> None:
        found = await state.read(client.jetstream(), where().tenant.readers if where else None)
        text, left = site_export.document(found)
        for line in left:
            echo(one_line(line), err=True)
        if save is None:
            echo(text, nl=False)
            return
        with written(save) as part:
            part.touch(mode=0o600)
            part.write_text(text)
        echo(f"{save}: {len(found.cameras)} cameras", err=True)

    with_admin(data, work)
