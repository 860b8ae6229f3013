"""`tidegate erase`: all that there is of a camera, or of a time range of it, from every store."""

from __future__ import annotations

import datetime as dt
import os
import sys
from collections.abc import Mapping
from pathlib import Path

import click
from nats.aio.client import Client
from nats.js.errors import NotFoundError

from shared.contract import names
from shared.contract.reading.entries import entries
from shared.recordings.policies import Policies
from shared.runtime.errors import SettingError
from tidegate.client.times import clock, instant, now_here
from tidegate.commands.options import TIME, data_option, screen, with_admin
from tidegate.erasing import log, passes, table
from tidegate.erasing.passes import Outcome
from tidegate.erasing.scope import Scope, scope
from tidegate.erasing.stores import Plan, Result
from tidegate.erasing.table import Store
from tidegate.local import encryption, running
from tidegate.view import records
from tidegate.view.inert import echo
from tidegate.view.records import Right, Wrapped
from tidegate.view.waiting import telling
from tidegate.view.words import counted, duration, sized

FIELDS = ("store", Right("items"), Right("size"), "retention", Wrapped("of the camera"), Wrapped("remark"))
_FAILED = 1
_DAY_S = 24 * 3600.0
# A plain store writes a file of some megabytes for each message that it overwrites, and others store in between.
PLAIN_S = 0.1


@click.command()
@data_option
@click.argument("camera")
@click.option("--from", "since", metavar="TIME", help=f"Start of the time range: {TIME}. Default: its beginning.")
@click.option("--to", "until", metavar="TIME", help="End of the time range, in the same formats. Default: now.")
@click.option("--dry-run", is_flag=True, help="Print what there is, and its retention, and change nothing.")
@click.option("--remove", is_flag=True, help="Remove the camera first, if it is still there.")
@click.option("--despite-hold", is_flag=True, help="Erase recordings also where a policy holds them.")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
def erase(
    data: Path | None,
    camera: str,
    since: str | None,
    until: str | None,
    dry_run: bool,
    remove: bool,
    despite_hold: bool,
    yes: bool,
) -> None:
    """Erase all that there is of CAMERA, or what it filmed in a time range.

    \b
    What there is of it:    tidegate erase lobby --dry-run
    All, and the camera:    tidegate erase lobby --remove
    What it should not see: tidegate erase lobby --from 13:05 --to 13:20
    In a script:            tidegate erase lobby --remove --yes

    That is its video, events, vectors, incidents, recordings, captions, pictures and dead letters. A message or a file
    goes as a whole if it shows any of the range. The table names what stays, such as the audit log and copies
    elsewhere. Exit code 0 means that every store was found empty afterwards. After an interruption run it again:
    docs/how-to/erase.md.
    """
    now = now_here()
    wanted = scope(
        camera,
        instant("--from", since, now) if since else None,
        # Without --to a range ends now: what comes later is not meant.
        instant("--to", until, now) if until else now if since else None,
    )
    if remove and not wanted.is_whole:
        raise SettingError("--remove erases all of a camera: leave --from and --to out")
    states = wanted.is_whole or wanted.until is None or now - wanted.until < passes.STATE

    async def work(client: Client) -> None:
        if dry_run:
            plan = Plan(wanted, dry_run=True, despite_hold=despite_hold, settings=wanted.is_whole, states=states)
            with telling() as tell:
                outcome = await passes.count(client, plan, tell)
            await _print(client, wanted.camera, outcome.results)
            _print_store(data, outcome.results)
            return
        settings = await passes.check(client, wanted, remove=remove, despite_hold=despite_hold)
        _confirm(wanted, yes=yes)
        plan = Plan(wanted, False, despite_hold, settings=settings and wanted.is_whole, states=states)
        await _erase(client, plan, data, remove=remove)

    with_admin(data, work)


async def _erase(client: Client, plan: Plan, data: Path | None, *, remove: bool) -> None:
    await log.record(client, plan.scope, state="begun", despite_hold=plan.despite_hold)
    if remove:
        await passes.remove(client, plan.scope.camera)
    with telling() as tell:
        outcome = await passes.erase(client, plan, tell)
    counts = {one.store: one.number for one in outcome.results.values() if one.number}
    state = "incomplete" if outcome.problems else "done"
    await log.record(client, plan.scope, state=state, erased=counts, not_reached=outcome.problems)
    _report(plan.scope, outcome)
    _print_store(data, {})
    if outcome.problems:
        sys.exit(_FAILED)


def _confirm(wanted: Scope, *, yes: bool) -> None:
    """Ask for the camera's name in a terminal. Raises SettingError without one."""
    if yes:
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise SettingError("erase can't be undone: give --yes without a terminal; nothing was erased")
    what = "all of camera" if wanted.is_whole else f"{wanted.words()} of camera"
    answer = click.prompt(
        f"Erase {what} {wanted.camera} for good? Type its name", default="", show_default=False, err=True
    )
    if answer != wanted.camera:
        raise SettingError("that is not its name: nothing was erased")


def _report(wanted: Scope, outcome: Outcome) -> None:
    now = now_here()
    for one in outcome.results.values():
        if one.problem:
            echo(f"{one.store}: {one.problem}", err=True)
        elif one.number:
            echo(f"{one.store}: {one.number:,} erased, {sized(one.size)}{_wider(wanted, one, now)}")
            if stays := "; ".join(filter(None, (one.remark, table.every()[one.store].why))):
                echo(f"  stays: {stays}")
    total = sum(one.number for one in outcome.results.values())
    what = "everything" if wanted.is_whole else wanted.words()
    if outcome.problems:
        echo(f"camera {wanted.camera}: {what} is not erased yet, see above: run this again", err=True)
    else:
        echo(f"camera {wanted.camera}: {what} is erased, {total:,} items; the last look at every store found nothing")


def _wider(wanted: Scope, one: Result, now: dt.datetime) -> str:
    """Return what whole files show beyond the range."""
    if not one.since or not one.until or wanted.is_whole:
        return ""
    return f"; whole files, which show {clock(one.since, now)} to {clock(one.until, now)}"


async def _print(client: Client, camera: str, results: Mapping[str, Result]) -> None:
    policy = Policies(await entries(client.jetstream(), names.RECORDINGS)).of(camera)
    held = "held: no recording expires" if policy.hold else ""
    recorded = held or f"{policy.keep_days:g} d, with incidents {max(policy.keep_days, policy.incidents_days):g} d"
    rows = []
    for name, store in table.every().items():
        found = results.get(name)
        items = "" if found is None else "?" if found.problem else f"{found.number:,}"
        size = sized(found.size) if found and found.number else ""
        retention = recorded if name == table.RECORDED else await _retention(client, name, store)
        rows.append((name, items, size, retention, store.holds, _remark(store, found)))
    records.show(screen(), FIELDS, rows, "")


def _remark(store: Store, found: Result | None) -> str:
    if found and (found.problem or found.remark):
        return found.problem or found.remark
    way = {"expires": "expires: ", "stays": "stays: "}.get(store.way, "erased; stays: " if store.why else "erased")
    return f"{way}{store.why}"


async def _retention(client: Client, name: str, store: Store) -> str:
    """Return how long a store keeps something: by the age limit of its stream, and by what else limits it."""
    if name in table.SERVICES or name in table.OUTSIDE:
        return store.limit
    try:
        config = (await client.jetstream().stream_info(name.replace("KV ", "KV_"))).config
    except NotFoundError:
        return "not there"
    age = _age(config.max_age) if config.max_age else "until it is erased" if name.startswith("KV ") else "no age limit"
    return f"{age}, or {store.limit}" if store.limit else age


def _age(seconds: float) -> str:
    return f"{seconds / _DAY_S:.0f} d" if seconds >= 2 * _DAY_S else duration(seconds)


def _print_store(data: Path | None, results: Mapping[str, Result]) -> None:
    """Say what the server does with the bytes of deleted messages."""
    count = sum(one.number for name, one in results.items() if name in table.STREAMS)
    at = None if os.environ.get("NATS_URL") else (data or running.default_data()) / "jetstream"
    if at is None or encryption.is_encrypted(at):
        echo(
            "An encrypted store ('tidegate up' has one) overwrites no deleted message: it stays unreadable without the "
            "server's key, until its file is rewritten or has expired.",
            err=True,
        )
    if count and (at is None or not encryption.is_encrypted(at)):
        echo(f"A plain store overwrites {counted(count, 'message')} in about {duration(count * PLAIN_S)}.", err=True)
