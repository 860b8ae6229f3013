"""`tidegate diff`: print what 'tidegate apply' would change."""

from __future__ import annotations

from pathlib import Path

import click
from nats.aio.client import Client

from shared.site import journal
from tidegate.commands.apply import files_option, finder, prune_option, show, site_options
from tidegate.commands.options import with_admin
from tidegate.local import declared
from tidegate.view.inert import echo, one_line

# The exit code of --exit-code if there are changes. 1 is an error's.
DIFFERENT = 2


@click.command()
@site_options
@files_option
@prune_option
@click.option("--exit-code", is_flag=True, help=f"Exit with {DIFFERENT} if there are changes.")
def diff(data: Path | None, accounts: Path | None, files: tuple[Path, ...], prune: bool, exit_code: bool) -> None:
    """Print what 'tidegate apply' would change, and change nothing.

    \b
    What would change:      tidegate diff -f site.yaml
    What would be removed:  tidegate diff -f site.yaml --prune
    In a script:            tidegate diff -f site.yaml --exit-code

    Signs: + is added, ~ is changed, - is removed.
    """
    wanted = declared.load(files)
    where = finder(data, accounts)
    different = False

    async def work(client: Client) -> None:
        nonlocal different
        if lock := await journal.pending(client.jetstream()):
            echo(
                one_line(f"{lock.by} applies a site file, or was interrupted: 'tidegate apply' completes it"), err=True
            )
        found = await declared.compare(client, wanted, where, wanted.sections if prune else ())
        show(found)
        different = bool(found.plan.changes)

    with_admin(data, work)
    if exit_code and different:
        raise SystemExit(DIFFERENT)
