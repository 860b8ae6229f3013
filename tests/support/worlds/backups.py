"""Files of backups, and data directories with a server that commands find."""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import os
import zlib
from collections.abc import AsyncIterator, Iterable, Iterator
from io import BytesIO
from pathlib import Path

import msgspec
from nats.aio.client import Client

from shared import bus
from shared.recordings.stores.keys import Keys, Secret, text_of
from shared.runtime.private_file import write_private
from tidegate.backup.format import MAGIC, Reader, Writer
from tidegate.backup.records import FORMAT, AnyRecord, End, Header, part_of
from tidegate.local.running import Running
from tidegate.local.server import NatsServer

ID = "0" * 32


def header(secret: Secret | None = None, format: int = FORMAT) -> Header:
    return Header(
        format=format,
        tidegate="0.3.0",
        time=dt.datetime(2026, 12, 1, tzinfo=dt.UTC),
        host="yard",
        id=ID,
        key=secret.id.hex() if secret else "",
        streams=True,
    )


def written(records: Iterable[AnyRecord], secret: Secret | None = None, head: Header | None = None) -> bytes:
    """Return the file of a backup with these records."""
    file = BytesIO()
    writer = Writer(file, head or header(secret), secret)
    for record in records:
        writer.add(record)
    writer.end()
    return file.getvalue()


def unchecked(*records: AnyRecord, packed: bytes | None = None) -> bytes:
    """Return a plain file with records as they are, valid or not, and with its checksum. packed: instead of them."""
    raw = msgspec.json.encode(header())
    counts = {part: 1 for record in records if (part := part_of(record))}
    frames = [packed or zlib.compress(msgspec.msgpack.encode(records))]
    frames.append(zlib.compress(msgspec.msgpack.encode([End(counts=counts)])))
    data = b"".join(len(part).to_bytes(4) + part for part in (raw, *frames))
    return signed(MAGIC + data)


def signed(data: bytes) -> bytes:
    """Return a file with its checksum, which whoever changes a file can write anew."""
    return data + hashlib.sha256(data).digest()


def read(data: bytes, secret: Secret | None = None) -> Iterator[AnyRecord]:
    """Yield the records of a file. Raises BadBackup, and LookupError if it is encrypted with another key."""

    def find(id: str) -> Secret:
        if secret is None or secret.id.hex() != id:
            raise LookupError(id)
        return secret

    yield from Reader(BytesIO(data), find).records()


def key_file(path: Path) -> Path:
    """Write a file with a new key."""
    write_private(path, text_of(Keys((Secret.new(),))))
    return path


@contextlib.asynccontextmanager
async def found_by_commands(server: NatsServer, data: Path) -> AsyncIterator[Client]:
    """Connect as admin to the server of `data`, which commands find as they find that of `tidegate up`."""
    write_private(data / "run.json", msgspec.json.encode(Running(server.url, os.getpid())).decode())
    client = await bus.connect(server.settings("admin"), "admin")
    try:
        yield client
    finally:
        await client.close()
        (data / "run.json").unlink()


@contextlib.asynccontextmanager
async def running(data: Path) -> AsyncIterator[Client]:
    """Run a server on a data directory, set up, which commands find."""
    async with NatsServer(data) as server, found_by_commands(server, data) as client:
        await server.set_up(client)
        yield client
