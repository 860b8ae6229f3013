"""Site files as a declared site, and how it is compared with a server and applied to it.

Example:
    declared = load([Path("site.yaml")])
    shown = await compare(client, declared, place)
    notes = await apply(client, shown, place, tell)
"""

from __future__ import annotations

import getpass
import os
import socket
import sys
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from nats.aio.client import Client

from shared.contract import catalog, names
from shared.contract.reading.entries import entries
from shared.contract.reading.mistakes import Mistake, Mistakes
from shared.runtime.errors import SettingError
from shared.site import format as site_format
from shared.site import journal, merging, plan, references, state
from shared.site.format import Site
from shared.site.journal import Tell
from shared.site.plan import Plan
from shared.site.references import Login, Values
from shared.site.state import State
from tidegate.local import readers, tenants
from tidegate.local.readers import Place

SUFFIXES = (".yaml", ".yml", ".json")
STDIN = Path("-")


# Finds the readers' folder and tenant, as these are now. None: their server is configured elsewhere.
Find = Callable[[], Place] | None


class Declared(NamedTuple):
    """sections: of the files, such as `cameras`. logins: by camera. values: of the webhook, if it is declared."""

    site: Site
    sections: frozenset[str]
    logins: dict[str, Login]
    values: Values | None = None


class Comparison(NamedTuple):
    """The state of a server, and the changes that turn it into the declared site."""

    state: State
    plan: Plan


def load(paths: Sequence[Path]) -> Declared:
    """Read site files, folders of them, or standard input for `-`. Raises Mistakes, and SettingError for a file."""
    parsed: list[tuple[str, Any]] = []
    mistakes: list[Mistake] = []
    for path in _files(paths):
        where = "standard input" if path == STDIN else str(path)
        value, doubled = site_format.parse(_content(path, where), where)
        mistakes += doubled
        parsed.append((where, _with_files(value, Path() if path == STDIN else path.parent)))
    where = parsed[0][0] if len(parsed) == 1 else f"the {len(parsed)} files"
    value, twice = merging.merge(parsed)
    site = site_format.site_of(value, where, [*mistakes, *twice])
    logins = {id: references.resolve(camera, os.environ) for id, camera in site.cameras.items()}
    values = references.resolve_webhook(site.webhook, os.environ) if site.webhook else None
    return Declared(site, frozenset(value), logins, values)


def ignored(site: Site, services: Collection[str]) -> list[str]:
    """Return a notice for each part of a site that no service of those names reads."""
    cameras = site.cameras.values()
    policies = [site.recording, *(group.recording for group in site.groups.values()), *(c.recording for c in cameras)]
    parts = (
        (names.ANALYTICS, "rules", any(camera.rules for camera in cameras)),
        (names.RECORDER, "recording policies", any(policies)),
    )
    return [
        f"the site has {what}, which {name} reads: start it with {catalog.find(name).started_by}"
        for name, what, is_declared in parts
        if is_declared and name not in services
    ]


def served(site: Site) -> list[str]:
    """Return the names of the services for which a site has a section of their own."""
    return [names.WEBHOOK] if site.webhook else []


async def stored(client: Client) -> list[str]:
    """Return the names of the services for which a server has a section of their own. Raises BusError."""
    return [names.WEBHOOK] if await entries(client.jetstream(), names.ENDPOINT) else []


async def compare(client: Client, declared: Declared, place: Find, prune: Collection[str] = ()) -> Comparison:
    """Return the present state, and the changes. prune: sections of which the rest goes. Raises Mistakes."""
    now = await _state(client, place)
    return Comparison(now, plan.plan(declared.site, now, declared.logins, prune, declared.values))


async def apply(client: Client, shown: Comparison, place: Find, tell: Tell) -> list[str]:
    """Make the changes of a comparison; return what happened to an interrupted apply.

    Raises Moved if the site changed since; BusError.
    """
    js = client.jetstream()
    async with journal.locked(js, _person(), tell) as lock:
        journal.check_unmoved(shown.state, await _state(client, place))
        await lock.apply([write for change in shown.plan.changes for write in change.writes], tell)
    if place:
        await _change_readers(client, shown.plan, place, tell)
    return lock.notes


async def recover(client: Client, tell: Tell) -> list[str]:
    """Complete an interrupted apply, or wait for a running one; return a line for each change. Raises BusError."""
    return await journal.recover(client.jetstream(), _person(), tell)


def _person() -> str:
    return f"{getpass.getuser()}@{socket.gethostname()}"


async def _state(client: Client, place: Find) -> State:
    return await state.read(client.jetstream(), place().tenant.readers if place else None)


async def _change_readers(client: Client, found: Plan, place: Callable[[], Place], tell: Tell) -> None:
    for change in found.changes:
        if change.reader is None:
            continue
        tell(change.what)
        with tenants.changing(place().folder):
            if change.kind == "remove":
                await readers.remove(client, place(), change.reader.name)
            else:
                await readers.add(client, place(), change.reader)


def _files(paths: Sequence[Path]) -> list[Path]:
    found: list[Path] = []
    for path in paths:
        if path != STDIN and path.is_dir():
            inside = sorted(p for p in path.iterdir() if p.suffix in SUFFIXES and p.is_file())
            if not inside:
                raise SettingError(f"{path} has no file that ends with {', '.join(SUFFIXES)}")
            found += inside
        else:
            found.append(path)
    if not found:
        raise SettingError("give a site file: -f site.yaml")
    return found


def _content(path: Path, where: str) -> bytes:
    if path == STDIN:
        return sys.stdin.buffer.read(site_format.MOST_BYTES + 1)
    try:
        with path.open("rb") as file:
            return file.read(site_format.MOST_BYTES + 1)
    except OSError as e:
        raise SettingError(f"{where} can't be read: {e.strerror}") from e


def _with_files(value: Any, folder: Path) -> Any:
    """Return the value with the content of each `rules_file`, and with whole paths of files of secrets."""
    webhook = value.get("webhook") if isinstance(value, dict) else None
    if isinstance(webhook, dict) and isinstance(path := webhook.get("secret_file"), str):
        value = {**value, "webhook": {**webhook, "secret_file": str(folder / path)}}
    cameras = value.get("cameras") if isinstance(value, dict) else None
    if not isinstance(cameras, dict):
        return value
    read = {}
    for id, camera in cameras.items():
        if isinstance(camera, dict):
            if isinstance(path := camera.get("password_file"), str):
                camera = {**camera, "password_file": str(folder / path)}
            if isinstance(path := camera.get("rules_file"), str) and camera.get("rules") is None:
                camera = {name: part for name, part in camera.items() if name != "rules_file"}
                camera["rules"] = _rules(folder / path)
        read[id] = camera
    return {**value, "cameras": read}


def _rules(path: Path) -> Any:
    value, doubled = site_format.parse(_content(path, str(path)), str(path))
    if doubled:
        raise Mistakes(str(path), doubled)
    return value
