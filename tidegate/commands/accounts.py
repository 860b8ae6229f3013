"""`tidegate accounts`: who may connect to a server of your own, as its configuration includes it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click
import msgspec

from shared.contract import memory, names
from shared.contract.accounts import QUOTA, Tenant
from shared.contract.topology import GB, MB
from shared.runtime.errors import SettingError
from tidegate.commands.options import FOLDER
from tidegate.local import tenants
from tidegate.view.inert import echo

UNITS = {"": 1, "MB": MB, "GB": GB, "TB": 1024 * GB}


class Bytes(click.ParamType[int]):
    """A number of bytes, such as 100GB."""

    name = "bytes"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        found = re.fullmatch(r"([1-9][0-9]{0,17}) ?(|MB|GB|TB)", str(value))
        if not found:
            self.fail(f"{value!r} is no number of bytes: give one such as 500MB, 100GB or 2TB", param, ctx)
        return int(found[1]) * UNITS[found[2]]


@click.command()
@click.argument("folder", metavar="DIR", type=FOLDER)
@click.option(
    "--tenant",
    default=names.ACCOUNT,
    show_default=True,
    help="Hold the streams in this account; one of another name has users of its own, such as ACME-cv for cv.",
)
@click.option("--max-store", type=Bytes(), help="Let its streams take so much disk, such as 100GB. Default: no limit.")
@click.option(
    "--max-streams",
    type=click.IntRange(1, 10**9),
    help=f"Let it have so many streams. Default: {QUOTA['max_streams']} with another limit, else no limit.",
)
@click.option(
    "--max-consumers",
    type=click.IntRange(1),
    help="Let each stream have so many consumers. "
    f"Default: {QUOTA['max_consumers']} with another limit, else no limit.",
)
@click.option(
    "--max-connections",
    type=click.IntRange(1, 10**6),
    help=f"Maximum connections of each service and app. Each takes the server memory. Default: {memory.CONNECTIONS}.",
)
def accounts(folder: Path, tenant: str, **quota: int | None) -> None:
    """Make passwords, and the accounts of nats-server's configuration, in DIR.

    \b
    For a server of yours:  tidegate accounts secrets
    A second tenant on it:  tidegate accounts secrets --tenant ACME --max-store 100GB

    Each identity gets a file with its password; those that are there are kept, and so are readers. In accounts.conf the
    passwords are hashed. A quota stays until another is given.
    """
    tenants.check_folder(folder)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tenants.changing(folder):
        have = {t.name: t for t in tenants.read(folder, ())}
        before = {path.name for path in folder.iterdir()}
        wanted = _checked(tenant, have.get(tenant), quota)
        tenants.put(folder, wanted)
        block = tenants.write_block(folder)
    users = tenants.users(tenants.read(folder))
    made = [user for user in users if user not in before]
    echo(f"{folder}: {len(made)} passwords made{_listed(made)}, {len(users) - len(made)} kept")
    if most := wanted.max_connections:
        echo(f"{most} connections of one password: each server needs {memory.needed(most) / GB:.1f} GB of memory")
    admin = wanted.users["admin"]
    echo(
        f"next: have the server's configuration 'include {block}', and start it. Where it runs, {tenants.RELOAD}. "
        f"Then NATS_URL=nats://… NATS_USER={admin} NATS_PASSWORD_FILE={folder / admin} tidegate setup"
    )


def _listed(made: list[str]) -> str:
    return f" ({', '.join(made)})" if made else ""


def _checked(name: str, have: Tenant | None, quota: dict[str, int | None]) -> Tenant:
    given = {limit: value for limit, value in quota.items() if value is not None}
    try:
        known = msgspec.to_builtins(have) if have else {"name": name}
        return msgspec.convert({**known, **given}, Tenant)
    except msgspec.ValidationError as e:
        raise SettingError(
            f"--tenant {name!r} can't be used ({e}): take up to 32 capital letters, digits and '_', a letter first"
        ) from e
