"""Readers of EVENTS: added, changed and removed, on the server that `tidegate up` runs or on one of your own."""

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
from shared.contract.accounts import Tenant
from shared.contract.identities import ADMIN
from shared.contract.readers import Reader
from shared.runtime.errors import BusError, SettingError
from shared.runtime.settings import BusSettings, load
from tidegate.local import passwords, tenants

# `tidegate up` looks every half second; a busy machine gets longer.
TAKEN_WITHIN_S = 30.0
POLL_S = 0.1
_REMEDY = "restart 'tidegate up', whose log says why"


class Place(msgspec.Struct, frozen=True):
    """folder: where passwords are. tenant: whose readers they are. own: whether the server is the operator's own."""

    folder: Path
    tenant: Tenant
    own: bool

    def password_file(self, reader: Reader) -> Path:
        """Of a reader that the tenant has."""
        return self.folder / tenants.with_reader(self.tenant, reader).users[reader.identity]

    def settings(self, client: Client, reader: Reader) -> BusSettings:
        """How the reader connects to the server that the client is connected to."""
        path = self.password_file(reader)
        url = client.connected_url.geturl() if client.connected_url else ""
        return BusSettings(nats_url=url, nats_user=path.name, nats_password=path.read_text())


def folder_of(data: Path, own: Path | None) -> Path:
    """Where passwords are: in the data directory, or the folder `own` for the server that NATS_URL names.

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
    """The same, and whose readers are kept there. Raises SettingError."""
    folder = folder_of(data, own)
    admin = (load(BusSettings).nats_user if own else "") or ADMIN
    return Place(folder, tenants.whose(folder, admin), own=own is not None)


async def add(client: Client, at: Place, reader: Reader) -> None:
    """Make the reader's consumer, password and account. client: of admin.

    On the server of `tidegate up` it can connect on return. Raises BusError, and SettingError where another reader has
    its name: what it may read stays as it is while it is.
    """
    if any(r.name == reader.name and r != reader for r in at.tenant.readers):
        raise SettingError(f"there is a reader {reader.name!r} that reads something else: choose another name")
    await topology.apply_consumers(client.jetstream(), load(topology.TopologySettings), [reader.consumer])
    # Before `tidegate up` hears of the reader: it would make one too.
    passwords.kept(at.folder, [at.password_file(reader).name])
    tenants.put(at.folder, tenants.with_reader(at.tenant, reader))
    if at.own:
        tenants.write_block(at.folder)
    else:
        kept = f"{reader.identity} is kept, but the server does not take it: {_REMEDY}"
        await _until(lambda: _takes(client, at, reader), kept)


async def remove(client: Client, at: Place, name: str) -> None:
    """End its right, and then delete its consumer and its password. Raises SettingError where there is none."""
    found = [r for r in at.tenant.readers if r.name == name]
    if not found:
        known = ", ".join(r.name for r in at.tenant.readers)
        raise SettingError(f"there is no reader {name!r}: " + (f"there are {known}" if known else "there are none"))
    gone = found[0]
    tenants.put(at.folder, tenants.without_reader(at.tenant, name))
    if at.own:
        tenants.write_block(at.folder)
    else:
        removed = f"{gone.identity} is removed, but the server still takes it: {_REMEDY}"
        await _until(lambda: _refuses(client, at, gone), removed)
    at.password_file(gone).unlink(missing_ok=True)
    await _until(lambda: _deleted(client, gone), f"{gone.identity} is removed, but JetStream keeps its consumer")


async def _until(true: Callable[[], Awaitable[bool]], otherwise: str) -> None:
    for _ in range(int(TAKEN_WITHIN_S / POLL_S)):
        if await true():
            return
        await asyncio.sleep(POLL_S)
    raise BusError(otherwise)


async def _takes(client: Client, at: Place, reader: Reader) -> bool:
    """Whether the reader can connect, and its account has the consumer."""
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
        # It may as well not answer, while it starts again.
        return "refuses user" in str(e)
    await its.close()
    return False


async def _deleted(client: Client, reader: Reader) -> bool:
    """Whether its consumer is gone. While the server reads its accounts anew, nobody answers (nats-server 2.15.1)."""
    try:
        await client.jetstream().delete_consumer(names.EVENTS, reader.identity)
    except NotFoundError:
        return True
    except (ServiceUnavailableError, TimeoutError):
        return False
    return True
