"""`tidegate apply`: make a server's cameras, groups, rules, policies, readers and webhook those of a site file."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import click
from nats.aio.client import Client

from shared.runtime.errors import SettingError
from shared.site.plan import Change
from tidegate.commands.options import FOLDER, combined, data_option, with_admin
from tidegate.local import declared
from tidegate.local.readers import place
from tidegate.local.running import default_data, runs_elsewhere
from tidegate.view.inert import echo, one_line
from tidegate.view.waiting import telling
from tidegate.view.words import counted

# Notices that a terminal shows.
_MOST_NOTICES = 10

files_option = click.option(
    "-f",
    "--file",
    "files",
    multiple=True,
    required=True,
    type=click.Path(exists=True, allow_dash=True, path_type=Path),
    help="Site file, folder of site files, or - for standard input. May be repeated.",
)
prune_option = click.option(
    "--prune", is_flag=True, help="Also remove what the file does not have, in each section that it has."
)
site_options = combined(
    data_option,
    click.option("--accounts", type=FOLDER, help="Folder of 'tidegate accounts' for the readers of NATS_URL's server."),
)


@click.command()
@site_options
@files_option
@prune_option
@click.option("--yes", is_flag=True, help="Remove without a question.")
def apply(data: Path | None, accounts: Path | None, files: tuple[Path, ...], prune: bool, yes: bool) -> None:
    """Make cameras, groups, rules, recording policies, readers and the webhook those of a site file.

    \b
    Show what would change: tidegate diff -f site.yaml
    Change it:              tidegate apply -f site.yaml
    Remove the rest, too:   tidegate apply -f site.yaml --prune
    A first file:           tidegate export --save site.yaml

    All changes are made, or none. A second run changes nothing. Passwords are variables: docs/how-to/site.md.
    """
    wanted = declared.load(files)
    where = finder(data, accounts)

    async def work(client: Client) -> None:
        with telling() as tell:
            _say(await declared.recover(client, tell))
        shown = await declared.compare(client, wanted, where, wanted.sections if prune else ())
        show(shown)
        if not shown.plan.changes:
            return
        _check_removals(shown.plan.changes, yes)
        began = time.monotonic()
        with telling() as tell:
            _say(await declared.apply(client, shown, where, tell))
        kinds = Counter(change.kind for change in shown.plan.changes)
        done = f"{kinds['add']} added, {kinds['change']} changed, {kinds['remove']} removed"
        echo(f"{done} in {time.monotonic() - began:.1f} s")

    with_admin(data, work)


def finder(data: Path | None, accounts: Path | None) -> declared.Find:
    """Return what finds the readers' folder; None for a server of NATS_URL without its folder."""
    if runs_elsewhere() and not accounts:
        return None
    return lambda: place(data or default_data(), accounts)


def show(found: declared.Comparison) -> None:
    """Print each change in a line, and notices on standard error."""
    for change in found.plan.changes:
        echo(one_line(str(change)))
    notices = found.plan.notices
    for notice in notices[:_MOST_NOTICES]:
        echo(one_line(notice), err=True)
    if len(notices) > _MOST_NOTICES:
        echo(f"and {counted(len(notices) - _MOST_NOTICES, 'thing')} more, which stay", err=True)
    if not found.plan.changes:
        echo("nothing to change")


def _check_removals(changes: Sequence[Change], yes: bool) -> None:
    """Ask before something is removed. Raise SettingError where nobody can answer."""
    removed = [change for change in changes if change.kind == "remove"]
    if not removed or yes:
        return
    if not sys.stdin.isatty():
        raise SettingError(f"--prune removes {counted(len(removed), 'thing')}, listed above: give --yes")
    if not click.confirm(f"Remove {counted(len(removed), 'thing')}, listed above?"):
        raise SettingError("nothing was changed")


def _say(notes: Sequence[str]) -> None:
    for note in notes:
        echo(one_line(note), err=True)
