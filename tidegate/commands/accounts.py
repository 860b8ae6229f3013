"""`tidegate accounts`: passwords and accounts for your own server, to include in its configuration."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click
import msgspec

from shared.contract import memory, names
from shared.contract.memory import GB, MB
from shared.contract.rights.accounts import QUOTA, Tenant
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
        match = re.fullmatch(r"([1-9][0-9]{0,17}) ?(|MB|GB|TB)", str(value))
        if not match:
            self.fail(f"{value!r} is no number of bytes: give one such as 500MB, 100GB or 2TB", param, ctx)
        return int(match[1]) * UNITS[match[2]]


@click.command()
@click.argument("folder", metavar="DIR", type=FOLDER)
@click.option(
    "--tenant",
    default=names.ACCOUNT,
    show_default=True,
    help="Account that owns the streams. A name other than the default prefixes its users: ACME-cv for cv.",
)
@click.option("--max-store", type=Bytes(), help="Maximum disk space of its streams, such as 100GB. Default: no limit.")
@click.option(
    "--max-streams",
    type=click.IntRange(1, 10**9),
    help=f"Maximum number of streams. Default: {QUOTA['max_streams']} with another limit, else no limit.",
)
@click.option(
    "--max-consumers",
    type=click.IntRange(1),
    help="Maximum number of consumers per stream. "
    f"Default: {QUOTA['max_consumers']} with another limit, else no limit.",
)
@click.option(
    "--max-connections",
    type=click.IntRange(1, 10**6),
    help=f"Maximum connections per service and app. Each takes memory of the server. Default: {memory.CONNECTIONS}.",
)
def accounts(folder: Path, tenant: str, **quota: int | None) -> None:
    """Create passwords, and the accounts of nats-server's configuration, in DIR.

    \b
    For your own server:    tidegate accounts secrets
    A second tenant on it:  tidegate accounts secrets --tenant ACME --max-store 100GB

    Each identity gets a file with its password. Existing passwords and readers stay. accounts.conf contains hashes of
    the passwords. A quota stays until you set another one.
    """
    tenants.check_folder(folder)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tenants.changing(folder):
        existing = {t.name: t for t in tenants.read(folder, ())}
        files_before = {path.name for path in folder.iterdir()}
        desired = _build_tenant(tenant, existing.get(tenant), quota)
        tenants.put(folder, desired)
        block = tenants.write_block(folder)
    users = tenants.users(tenants.read(folder))
    new_users = [user for user in users if user not in files_before]
    echo(f"{folder}: {len(new_users)} passwords made{_format_names(new_users)}, {len(users) - len(new_users)} kept")
    if count := desired.max_connections:
        echo(f"{count} connections of one password: each server needs {memory.needed(count) / GB:.1f} GB of memory")
    admin = desired.users["admin"]
    echo(
        f"next: have the server's configuration 'include {block}', and start it. Where it runs, {tenants.RELOAD}. "
        f"Then NATS_URL=nats://… NATS_USER={admin} NATS_PASSWORD_FILE={folder / admin} tidegate setup"
    )


def _format_names(new_users: list[str]) -> str:
    return f" ({', '.join(new_users)})" if new_users else ""


def _build_tenant(name: str, existing: Tenant | None, quota: dict[str, int | None]) -> Tenant:
    limits = {limit: value for limit, value in quota.items() if value is not None}
    try:
        fields = msgspec.to_builtins(existing) if existing else {"name": name}
        return msgspec.convert({**fields, **limits}, Tenant)
    except msgspec.ValidationError as e:
        raise SettingError(
            f"--tenant {name!r} can't be used ({e}): take up to 32 capital letters, digits and '_', a letter first"
        ) from e
