"""`tidegate backup`: write what an installation needs on another machine into one file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from shared.runtime.errors import SettingError
from tidegate.commands.options import FILE, NEW_FILE, data_option, with_admin
from tidegate.local.running import default_data
from tidegate.view.inert import echo
from tidegate.view.words import counted, sized

if TYPE_CHECKING:
    from nats.aio.client import Client

    from shared.recordings.stores.keys import Secret
    from tidegate.backup.taking import Plan

_MEGABYTE = 1_000_000


@click.command()
@data_option
@click.argument("file", type=NEW_FILE)
@click.option(
    "--key", "key_file", type=FILE, help="File with the key that encrypts FILE. 'tidegate recordings key' makes one."
)
@click.option(
    "--without-passwords",
    is_flag=True,
    help="Leave out passwords, tokens, keys, the webhook's endpoint, and the paths of cameras' URLs: FILE is not "
    "encrypted without --key.",
)
@click.option("--streams", is_flag=True, help="Also back up events, alerts, pictures, usage and dead letters.")
def backup(data: Path | None, file: Path, key_file: Path | None, without_passwords: bool, streams: bool) -> None:
    """Write settings, people, passwords and the audit log into the new FILE, while everything runs.

    \b
    Make a key, once:       tidegate recordings key ~/backup.key
    Encrypted:              tidegate backup /mnt/backup/monday.tgb --key ~/backup.key
    With all events:        tidegate backup /mnt/backup/monday.tgb --key ~/backup.key --streams
    Without passwords:      tidegate backup monday.tgb --without-passwords
    Of your own server:     NATS_URL=nats://10.0.0.4 NATS_USER=admin tidegate backup monday.tgb --key backup.key

    'tidegate restore' brings it back on another machine. Keep the key apart: nobody can restore FILE without it. Video
    is in no backup: docs/how-to/backup.md says how to copy recordings.
    """
    from tidegate.backup import taking
    from tidegate.view.waiting import telling

    data = data or default_data()
    is_here = not os.environ.get("NATS_URL")
    plan = taking.Plan(
        file=file,
        data=data if is_here else None,
        secret=_secret(key_file, without_passwords),
        passwords=not without_passwords,
        history=streams,
    )

    async def work(client: Client) -> None:
        with telling() as tell:
            taken = await taking.take(client, plan, tell)
        for line in taken.notes:
            echo(line)
        echo(", ".join(f"{part} {count}" for part, count in taken.counts.items()))
        size = sized(taken.size) if taken.size >= _MEGABYTE else counted(taken.size, "byte")
        echo(f"{file}: {size}, {'encrypted' if plan.secret else 'not encrypted'}, for its owner alone")
        for line in _hints(plan, data, key_file):
            echo(line)

    with_admin(data, work)


def _secret(key_file: Path | None, without_passwords: bool) -> Secret | None:
    """Return the key that encrypts; None without passwords. Raises SettingError."""
    from shared.recordings.stores import keys

    if key_file is None and not without_passwords:
        raise SettingError(
            "the backup holds passwords: give --key, a file with a key that encrypts it ('tidegate recordings key "
            "FILE' makes one), or --without-passwords"
        )
    if key_file is None:
        return None
    keys.check_installed("--key")
    return keys.read(key_file, "--key").all[0]


def _hints(plan: Plan, data: Path, key_file: Path | None) -> list[str]:
    lines = []
    if plan.data is None:
        lines.append("passwords of the server's users, models and the index of 'find' are files elsewhere: not in it")
    if key_file and key_file.resolve().is_relative_to(data.resolve()):
        lines.append(f"{key_file} is in the data directory that is backed up: copy it elsewhere, or nobody restores it")
    if plan.data and os.environ.get("RECORDER_KEY_FILE"):
        lines.append("the file of RECORDER_KEY_FILE is not in it: copy it apart")
    return [*lines, "recordings' files and MEDIA are in no backup: docs/how-to/backup.md says how to copy them"]
