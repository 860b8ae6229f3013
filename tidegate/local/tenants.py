"""The users of a server: a folder with a file of tenants and their readers, and a file for each user's password.

For `tidegate up` it is `secrets` in the data directory. For a server of your own `tidegate accounts` creates it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec

from shared.contract.rights import accounts
from shared.contract.rights.accounts import Tenant
from shared.contract.rights.identities import ADMIN
from shared.contract.rights.readers import Reader
from shared.runtime import lock
from shared.runtime.errors import SettingError
from shared.runtime.private_file import write_private
from tidegate.local import passwords

# The file that the server's configuration includes.
BLOCK = "accounts.conf"
FILE = "tenants.json"
# nats-server 2.15.1 gives a new account its imports when it reads its configuration a second time.
RELOAD = "reload it, twice so that new accounts work: nats-server --signal reload"


class Tenants(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The content of the file."""

    tenants: tuple[Tenant, ...]


def read(folder: Path, none: Iterable[Tenant] = (Tenant(),)) -> tuple[Tenant, ...]:
    """Return the tenants of a folder; `none` if it has no file. Raises SettingError."""
    path = folder / FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=Tenants).tenants
    except FileNotFoundError:
        return tuple(none)
    except (OSError, msgspec.DecodeError) as e:
        raise SettingError(f"{path} can't be read ({e}): put it back from a backup, or mend it by hand") from e


def check_folder(folder: Path) -> None:
    """Raise SettingError for a folder with other files, which would become inaccessible to other users."""
    there = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    if there and not there & {FILE, ".lock", *Tenant().users}:
        raise SettingError(f"{folder} has other files in it: name a folder of its own, which only you will see into")


def version(folder: Path) -> int:
    """Return a value that changes when the file is rewritten."""
    try:
        return (folder / FILE).stat().st_mtime_ns
    except FileNotFoundError:
        return 0


@contextmanager
def changing(folder: Path) -> Iterator[None]:
    """Lock the folder against other commands, for the block. Raises SettingError if one has the lock."""
    with closing(lock.acquire(folder / ".lock", f"another command changes {folder}: try again when it has ended")):
        yield


def write(folder: Path, tenants: Iterable[Tenant]) -> None:
    """Write the tenants, replacing the former ones."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_private(folder / FILE, msgspec.json.format(msgspec.json.encode(Tenants(tuple(tenants)))).decode() + "\n")


def users(tenants: Iterable[Tenant]) -> list[str]:
    """Return the names of all users."""
    return [user for tenant in tenants for user in tenant.users.values()]


def write_block(folder: Path) -> Path:
    """Write the include file of your own server's configuration, and missing passwords; return its path."""
    tenants = read(folder)
    hashed = passwords.hashed(passwords.ensure(folder, users(tenants)))
    write_private(folder / BLOCK, accounts.block(hashed, tenants))
    return folder / BLOCK


def whose(folder: Path, admin: str) -> Tenant:
    """Return the tenant with an admin of this name. Raises SettingError."""
    for tenant in read(folder):
        if tenant.users[ADMIN] == admin:
            return tenant
    raise SettingError(
        f"no tenant of {folder} has the admin NATS_USER={admin}: give the folder of 'tidegate accounts' and its admin"
    )


def with_reader(tenant: Tenant, reader: Reader) -> Tenant:
    """Add a reader, replacing one of its name."""
    return msgspec.structs.replace(tenant, readers=(*without_reader(tenant, reader.name).readers, reader))


def without_reader(tenant: Tenant, name: str) -> Tenant:
    """Remove a reader."""
    return msgspec.structs.replace(tenant, readers=tuple(r for r in tenant.readers if r.name != name))


def put(folder: Path, tenant: Tenant) -> None:
    """Write a tenant, replacing the one of its name."""
    others = read(folder, ())
    is_known = tenant.name in {other.name for other in others}
    updated = [tenant if other.name == tenant.name else other for other in others]
    write(folder, updated if is_known else [*updated, tenant])
