"""A backup, from its start until it has its name.

The file is written under another name and gets its own when it is complete: what has the name can be restored.
"""

from __future__ import annotations

import datetime as dt
import os
import secrets
import socket
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import msgspec
from nats.aio.client import Client

from shared.contract import names
from shared.recordings.stores.keys import Secret
from shared.runtime.errors import SettingError
from shared.site import journal
from tidegate.backup import buckets, entries, folder, scope, streams
from tidegate.backup.format import Writer
from tidegate.backup.records import FORMAT, Entry, Header

Tell = Callable[[str], None]


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """file: to write. data: the data directory; None: of a server elsewhere. secret: encrypts the file, if any.

    passwords: whether it has them. history: whether it has streams of events.
    """

    file: Path
    data: Path | None
    secret: Secret | None
    passwords: bool
    history: bool


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """counts: of each part. size: bytes of the file."""

    counts: dict[str, int]
    notes: list[str]
    size: int


async def take(client: Client, plan: Plan, tell: Tell) -> Taken:
    """Write a backup. client: of admin. Raises SettingError, BusError and OSError; then there is no file."""
    if plan.file.exists():
        raise SettingError(f"{plan.file} is there already: give the name of a new file")
    unfinished = plan.file.with_name(f".{plan.file.name}.{secrets.token_hex(4)}.part")
    try:
        with os.fdopen(os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            writer = Writer(file, _header(plan), plan.secret)
            await _add_all(client, plan, writer, tell)
            writer.end()
            file.flush()
            os.fsync(file.fileno())
            size = file.tell()
        unfinished.rename(plan.file)
    except OSError as e:
        raise SettingError(f"{plan.file} can't be written ({e.strerror}): give a file on a disk with room") from e
    finally:
        unfinished.unlink(missing_ok=True)
    return Taken(counts=writer.counts, notes=writer.notes, size=size)


def _header(plan: Plan) -> Header:
    return Header(
        format=FORMAT,
        tidegate=metadata.version("tidegate"),
        time=dt.datetime.now(dt.UTC).replace(microsecond=0),
        host=socket.gethostname()[:200],
        id=secrets.token_hex(16),
        key=plan.secret.id.hex() if plan.secret else "",
        passwords=plan.passwords,
        streams=plan.history,
        here=plan.data is not None,
    )


async def _add_all(client: Client, plan: Plan, writer: Writer, tell: Tell) -> None:
    for line in await journal.recover(client.jetstream(), "tidegate backup", tell):
        writer.note(line)
    for position in await streams.positions(client.jetstream()):
        writer.add(position)
    for stream in scope.streams(history=plan.history):
        n = 0
        async for message in streams.read(client, stream):
            writer.add(message)
            n += 1
            if n % 500 == 0:
                tell(f"{stream}: {n} messages")
    for bucket in scope.buckets(passwords=plan.passwords):
        if bucket not in (names.CREDENTIALS, names.CAMERAS):
            _add_found(writer, await buckets.read(client, bucket), plan)
    tell("cameras")
    _add_found(writer, await buckets.read_cameras(client), plan)
    if plan.data is not None:
        folder.take(writer, plan.data, passwords=plan.passwords, tell=tell)


def _add_found(writer: Writer, found: buckets.Found, plan: Plan) -> None:
    for what in found.moving:
        writer.note(f"{what} changed all the time: its entry may be of an unfinished change")
    for bucket, values in found.entries.items():
        if bucket not in scope.buckets(passwords=plan.passwords):
            continue
        for key, value in values.items():
            if not entries.is_taken(bucket, key, passwords=plan.passwords):
                continue
            try:
                taken = value if plan.passwords else entries.without_passwords(bucket, key, value)
            except SettingError as e:
                writer.note(f"{bucket} {key} is left out: {e}")
                continue
            writer.add(Entry(bucket=bucket, key=key, value=taken))
