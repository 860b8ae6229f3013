"""`tidegate restore`: bring a backup back, here or on a server elsewhere."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from shared.runtime.errors import SettingError
from tidegate.commands.options import FILE, data_option, server_errors, with_admin
from tidegate.local.running import default_data, prepare
from tidegate.view.inert import echo

if TYPE_CHECKING:
    from nats.aio.client import Client

    from tidegate.backup.contents import Contents
    from tidegate.backup.restoring import Restored, Source

# Cameras that a sentence names.
_NAMED = 10


@click.command()
@data_option
@click.argument("file", type=FILE)
@click.option("--key", "key_file", type=FILE, help="File with the key that encrypts FILE.")
@click.option("--dry-run", is_flag=True, help="Check FILE, list its contents, and change nothing. Needs no server.")
@click.option("--replace", is_flag=True, help="Replace cameras and settings that the server has.")
@click.option("--yes", is_flag=True, help="Replace without a question.")
def restore(data: Path | None, file: Path, key_file: Path | None, dry_run: bool, replace: bool, yes: bool) -> None:
    """Restore the backup FILE into a data directory on which nothing runs, or into the server of NATS_URL.

    \b
    List its contents:      tidegate restore monday.tgb --key ~/backup.key --dry-run
    On this machine:        tidegate restore monday.tgb --key ~/backup.key
    Over other cameras:     tidegate restore monday.tgb --key ~/backup.key --replace
    On your own server:     NATS_URL=nats://10.0.0.4 NATS_USER=admin tidegate restore monday.tgb --key backup.key

    The whole file is checked before anything is changed. After an interruption, run it again: it completes what it
    began. Start 'tidegate up' afterwards. On your own server stop the services before, and run 'tidegate setup'.
    """
    import asyncio

    from shared.runtime import telemetry
    from tidegate.backup import contents, restoring
    from tidegate.view.waiting import telling

    with telling() as tell:
        found = contents.check(file, key_file, tell)
    _print_contents(file, found)
    if dry_run:
        echo("nothing was changed")
        return
    source = restoring.Source(file=file, key=key_file, contents=found, replace=replace)

    def confirm(others: list[str]) -> None:
        _confirm(others, replace=replace, yes=yes)

    if os.environ.get("NATS_URL"):
        _restore_elsewhere(source, confirm)
        return
    data_dir = prepare(data or default_data())
    telemetry.log_aside()
    with _telling_later() as tell, server_errors():
        done = asyncio.run(restoring.restore_here(data_dir, source, confirm, tell))
    _print_restored(done)
    where = f" --data {data}" if data else ""
    echo(f"next: 'tidegate up{where}', with the options that it had, such as --search --analytics --record")


def _restore_elsewhere(source: Source, confirm: Callable[[list[str]], None]) -> None:
    from tidegate.backup import restoring

    async def work(client: Client) -> None:
        with _telling_later() as tell:
            done = await restoring.restore_into(client, source, confirm, tell)
        _print_restored(done)
        echo("next: start the services")

    with_admin(None, work)


@contextmanager
def _telling_later() -> Iterator[Callable[[str], None]]:
    """Yield a function that shows progress from its first call on: a question comes before, on a line of its own."""
    from tidegate.view.waiting import telling

    with ExitStack() as stack:
        shown: list[Callable[[str], None]] = []

        def tell(text: str) -> None:
            if not shown:
                shown.append(stack.enter_context(telling()))
            shown[0](text)

        yield tell


def _confirm(others: list[str], *, replace: bool, yes: bool) -> None:
    """Raise SettingError if cameras would be replaced and nobody wants that."""
    if not others:
        return
    more = f" and {len(others) - _NAMED} more" if len(others) > _NAMED else ""
    named = f"{', '.join(others[:_NAMED])}{more}"
    if not replace:
        raise SettingError(
            f"the server has cameras that differ from the backup's: {named}. Nothing was changed; --replace puts the "
            "backup's cameras, rules, policies and people in the place of the server's"
        )
    if yes:
        return
    if not sys.stdin.isatty():
        raise SettingError(f"--replace would change or remove {named}: give --yes without a terminal")
    echo(f"This changes or removes: {named}")
    if not click.confirm("Replace the server's cameras, rules, policies and people?", default=False):
        raise SettingError("nothing was changed")


def _print_contents(file: Path, found: Contents) -> None:
    header = found.header
    echo(
        f"{file}: backup of {header.host} at {header.time.isoformat()}, by Tidegate {header.tidegate}, "
        f"{'encrypted' if header.key else 'not encrypted'}; whole and unchanged"
    )
    for part, count in found.counts.items():
        echo(f"  {part:<24}{count:>9}")
    for name in ("passwords", "streams"):
        if not getattr(header, name):
            echo(f"  without {name}")


def _print_restored(done: Restored) -> None:
    for line in done.lines:
        echo(line)
    if done.more:
        echo(f"and {done.more} lines like these")
    parts = [f"{count} {name}" for name, count in done.entries.items()]
    parts += [f"{count} files of {name}" for name, count in done.files.items() if count]
    echo(f"restored: {', '.join([*parts, f'{done.messages} messages of streams'])}")
