"""Who may connect to a server: a folder with a file of tenants and their readers, and a file for each user's password.

`tidegate up` has it in its data directory, as `secrets`. For a server of your own `tidegate accounts` makes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec

from shared.contract import accounts
from shared.contract.accounts import Tenant
from shared.contract.identities import ADMIN
from shared.contract.readers import Reader
from shared.runtime import lock
from shared.runtime.errors import SettingError
from tidegate.local import passwords
from tidegate.local.encryption import write_private

# What the server's configuration includes.
BLOCK = "accounts.conf"
FILE = "tenants.json"
# nats-server 2.15.1 gives an account that is new to it what it imports when it reads its configuration once more.
RELOAD = "reload it, twice so that new accounts work: nats-server --signal reload"


class Tenants(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the file holds."""

    tenants: tuple[Tenant, ...]


def read(folder: Path, none: Iterable[Tenant] = (Tenant(),)) -> tuple[Tenant, ...]:
    """The tenants of a folder; `none` where it has no file. Raises SettingError."""
    path = folder / FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=Tenants).tenants
    except FileNotFoundError:
        return tuple(none)
    except (OSError, msgspec.DecodeError) as e:
        raise SettingError(f"{path} can't be read ({e}): put it back from a backup, or mend it by hand") from e


def check_folder(folder: Path) -> None:
    """Raises SettingError for a folder of other things, which would be closed to everybody else who needs them."""
    there = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    if there and not there & {FILE, ".lock", *Tenant().users}:
        raise SettingError(f"{folder} has other files in it: name a folder of its own, which only you will see into")


def version(folder: Path) -> int:
    """Differs once the file was written anew."""
    try:
        return (folder / FILE).stat().st_mtime_ns
    except FileNotFoundError:
        return 0


@contextmanager
def changing(folder: Path) -> Iterator[None]:
    """While it lasts, no other command changes the folder. Raises SettingError where one does."""
    with closing(lock.hold(folder / ".lock", f"another command changes {folder}: try again when it has ended")):
        yield


def write(folder: Path, tenants: Iterable[Tenant]) -> None:
    """Keep them, in place of those that were there."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_private(folder / FILE, msgspec.json.format(msgspec.json.encode(Tenants(tuple(tenants)))).decode() + "\n")


def users(tenants: Iterable[Tenant]) -> list[str]:
    """The name of everybody who may connect."""
    return [user for tenant in tenants for user in tenant.users.values()]


def write_block(folder: Path) -> Path:
    """Write what the configuration of a server of your own includes, and the passwords that are missing; its path."""
    tenants = read(folder)
    hashed = passwords.hashed(passwords.kept(folder, users(tenants)))
    write_private(folder / BLOCK, accounts.block(hashed, tenants))
    return folder / BLOCK


def whose(folder: Path, admin: str) -> Tenant:
    """The tenant whose admin connects by this name. Raises SettingError."""
    for tenant in read(folder):
        if tenant.users[ADMIN] == admin:
            return tenant
    raise SettingError(
        f"no tenant of {folder} has the admin NATS_USER={admin}: give the folder of 'tidegate accounts' and its admin"
    )


def with_reader(tenant: Tenant, reader: Reader) -> Tenant:
    """Add a reader, in place of one of its name."""
    return msgspec.structs.replace(tenant, readers=(*without_reader(tenant, reader.name).readers, reader))


def without_reader(tenant: Tenant, name: str) -> Tenant:
    """Take a reader away."""
    return msgspec.structs.replace(tenant, readers=tuple(r for r in tenant.readers if r.name != name))


def put(folder: Path, tenant: Tenant) -> None:
    """Keep a tenant, in place of the one of its name."""
    others = read(folder, ())
    known = tenant.name in {other.name for other in others}
    kept = [tenant if other.name == tenant.name else other for other in others]
    write(folder, kept if known else [*kept, tenant])
