"""Adds, changes and removes readers of EVENTS, on the server of `tidegate up` or on one of your own."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
from nats.aio.client import Client
from nats.js.errors import NotFoundError, ServiceUnavailableError

from shared import bus
from shared.contract import names, topology
from shared.contract.rights.accounts import Tenant
from shared.contract.rights.identities import ADMIN
from shared.contract.rights.readers import Reader
from shared.runtime.errors import BusError, SettingError
from shared.runtime.settings import BusSettings, load
from tidegate.local import passwords, tenants

# `tidegate up` polls every half second; a busy machine needs longer.
TAKEN_WITHIN_S = 30.0
POLL_S = 0.1
_REMEDY = "restart 'tidegate up', whose log says why"


class Place(msgspec.Struct, frozen=True):
    """folder: of the passwords. tenant: owner of the readers. own: whether the server is the operator's own."""

    folder: Path
    tenant: Tenant
    own: bool

    def password_file(self, reader: Reader) -> Path:
        """Return the file of a reader that the tenant has."""
        return self.folder / tenants.with_reader(self.tenant, reader).users[reader.identity]

    def settings(self, client: Client, reader: Reader) -> BusSettings:
        """Return how the reader connects to the server that the client is connected to."""
        path = self.password_file(reader)
        url = client.connected_url.geturl() if client.connected_url else ""
        return BusSettings(nats_url=url, nats_user=path.name, nats_password=path.read_text())


def folder_of(data: Path, own: Path | None) -> Path:
    """Return the folder of passwords: in the data directory, or `own` for the server that NATS_URL names.

    Raises SettingError.
    """
    if not os.environ.get("NATS_URL"):
        if own:
            raise SettingError("--accounts is for a server of your own: set NATS_URL to it, and NATS_USER to its admin")
        return data / "secrets"
    if not own:
        raise SettingError("NATS_URL names a server of your own: give --accounts, the folder of 'tidegate accounts'")
    return own


def place(data: Path, own: Path | None) -> Place:
    """Return this folder, and the tenant of its readers. Raises SettingError."""
    folder = folder_of(data, own)
    admin = (load(BusSettings).nats_user if own else "") or ADMIN
    return Place(folder, tenants.whose(folder, admin), own=own is not None)


async def add(client: Client, at: Place, reader: Reader) -> None:
    """Create the reader's consumer, password and account. client: of admin.

    On the server of `tidegate up` it can connect on return. Raises BusError, and SettingError if another reader has its
    name: a reader's rights never change.
    """
    if any(r.name == reader.name and r != reader for r in at.tenant.readers):
        raise SettingError(f"there is a reader {reader.name!r} that reads something else: choose another name")
    await topology.apply_consumers(client.jetstream(), load(topology.TopologySettings), [reader.consumer])
    # Before `tidegate up` sees the reader: it would create one too.
    passwords.ensure(at.folder, [at.password_file(reader).name])
    tenants.put(at.folder, tenants.with_reader(at.tenant, reader))
    if at.own:
        tenants.write_block(at.folder)
    else:
        refusal = f"{reader.identity} is kept, but the server does not take it: {_REMEDY}"
        await _until(lambda: _takes(client, at, reader), refusal)


async def remove(client: Client, at: Place, name: str) -> None:
    """End its rights, and then delete its consumer and its password. Raises SettingError if there is none."""
    found = [r for r in at.tenant.readers if r.name == name]
    if not found:
        others = ", ".join(r.name for r in at.tenant.readers)
        raise SettingError(f"there is no reader {name!r}: " + (f"there are {others}" if others else "there are none"))
    reader = found[0]
    tenants.put(at.folder, tenants.without_reader(at.tenant, name))
    if at.own:
        tenants.write_block(at.folder)
    else:
        removed = f"{reader.identity} is removed, but the server still takes it: {_REMEDY}"
        await _until(lambda: _refuses(client, at, reader), removed)
    at.password_file(reader).unlink(missing_ok=True)
    await _until(lambda: _deleted(client, reader), f"{reader.identity} is removed, but JetStream keeps its consumer")


async def _until(true: Callable[[], Awaitable[bool]], otherwise: str) -> None:
    for _ in range(int(TAKEN_WITHIN_S / POLL_S)):
        if await true():
            return
        await asyncio.sleep(POLL_S)
    raise BusError(otherwise)


async def _takes(client: Client, at: Place, reader: Reader) -> bool:
    """Return whether the reader can connect, and its account has the consumer."""
    with contextlib.suppress(BusError):
        its = await bus.connect(at.settings(client, reader), reader.identity, timeout_s=2)
        try:
            await bus.consumer_info(its.jetstream(timeout=2), names.EVENTS, reader.identity)
            return True
        finally:
            await its.close()
    return False


async def _refuses(client: Client, at: Place, reader: Reader) -> bool:
    try:
        its = await bus.connect(at.settings(client, reader), reader.identity, timeout_s=2)
    except BusError as e:
        # While it restarts, it may also not answer.
        return "refuses user" in str(e)
    await its.close()
    return False


async def _deleted(client: Client, reader: Reader) -> bool:
    """Return whether its consumer is deleted. During a reload of accounts nothing answers (nats-server 2.15.1)."""
    try:
        await client.jetstream().delete_consumer(names.EVENTS, reader.identity)
    except NotFoundError:
        return True
    except (ServiceUnavailableError, TimeoutError):
        return False
    return True
