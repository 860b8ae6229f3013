"""`tidegate webhook`: where the posts of alerts stand, where they begin, and a test of the endpoint."""

from __future__ import annotations

import asyncio
import datetime as dt
import time
import uuid
from typing import TYPE_CHECKING

import click

from tidegate.commands import Group
from tidegate.commands.options import connected, data_option, with_admin
from tidegate.view.inert import echo, echo_json
from tidegate.view.words import counted

if TYPE_CHECKING:
    from pathlib import Path

    from nats.aio.client import Client

    from services.webhook.endpoint import Names
    from shared.contract.endpoint import EndpointSettings
    from shared.contract.events import Alert
    from tidegate.client.webhook import Standing

TEST = "webhook-test"


@click.group(cls=Group)
def webhook() -> None:
    """Show where the webhook stands, move where it begins, and test its endpoint.

    \b
    What waits, last error: tidegate webhook status
    One test event:         tidegate webhook test
    The last hour again:    tidegate webhook since 1h
    Skip what waits:        tidegate webhook since now

    The endpoint is in the site file, or in WEBHOOK_URL: docs/how-to/webhook.md.
    """


@webhook.command("status")
@connected
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
async def status(client: Client, as_json: bool) -> None:
    """Show where the webhook begins, what waits, and the last delivery and error.

    \b
    In words:               tidegate webhook status
    For a script:           tidegate webhook status --json
    """
    import msgspec

    from tidegate.client import webhook as posts

    found = await posts.read(client)
    if as_json:
        echo_json(msgspec.to_builtins(found))
        return
    for name, text in _lines(found):
        echo(f"{name:<14}{text}")


@webhook.command("since")
@connected
@click.option("--dry-run", is_flag=True, help="Print the number of events, and change nothing.")
@click.argument("when", metavar="TIME")
async def since(client: Client, when: str, dry_run: bool) -> None:
    """Send all events since TIME, also those that were sent before; or begin 'now', and skip what waits.

    \b
    The last hour again:    tidegate webhook since 1h
    How many these are:     tidegate webhook since 1h --dry-run
    Skip what waits:        tidegate webhook since now

    TIME is 90s, 15m, 1h30m or 2d ago; 13:05 today; or 2026-11-24T13:05:00Z. EVENTS stores a week. A running webhook
    takes it over, and a first start begins there. The endpoint may get an event again, with the same webhook-id.
    """
    from shared.contract import topology
    from shared.runtime.errors import SettingError
    from shared.runtime.settings import load
    from shared.runtime.times import instant, now_here
    from tidegate.client import webhook as posts

    if when == "now":
        waiting = (await posts.read(client)).waiting if dry_run else await posts.begin_now(client)
        echo(
            f"{'would skip' if dry_run else 'skips'} {counted(waiting, 'waiting event')}, and begins with the next one"
        )
        return
    begin = instant("TIME", when, now_here())
    if begin > now_here():
        raise SettingError(f"{when!r} is in the future: give a time up to now")
    if dry_run:
        count = await posts.count_since(client, begin)
    else:
        count = await posts.begin_at(client, load(topology.TopologySettings), begin)
    echo(f"{'would send' if dry_run else 'sends'} {counted(count, 'event')} since {_clock(begin.timestamp())}")


@webhook.command("test")
@data_option
def test(data: Path | None) -> None:
    """Post one test event to the endpoint, from this machine and with these settings, and print the answer.

    \b
    To the site's endpoint: tidegate webhook test
    To another one:         WEBHOOK_URL=https://example.org/alerts tidegate webhook test
    In a cluster:           kubectl -n tidegate exec deploy/tidegate-webhook -- python -m tidegate webhook test

    It is an alert of camera 'webhook-test' by rule 'webhook-test', with the header 'ce-tidegatetest: true'. With
    WEBHOOK_URL it needs no server. It is stored nowhere, and is posted once, without retries.
    """
    from services.webhook.endpoint import ENVIRONMENT, SITE
    from services.webhook.settings import WebhookSettings
    from shared.runtime.settings import load

    settings = load(WebhookSettings)
    if settings.endpoint:
        asyncio.run(_post(settings.endpoint, settings.webhook_timeout_s, ENVIRONMENT))
        return

    async def work(client: Client) -> None:
        await _post(await _stored(client), settings.webhook_timeout_s, SITE)

    with_admin(data, work)


async def _stored(client: Client) -> EndpointSettings:
    from services.webhook import stored
    from shared.runtime.errors import SettingError

    if found := await stored.read(client):
        return found
    raise SettingError("there is no endpoint: add 'webhook' to the site file, or set WEBHOOK_URL")


async def _post(settings: EndpointSettings, timeout_s: float, named: Names) -> None:
    from services.webhook.endpoint import Endpoint, Failed
    from services.webhook.formats import FORMATS
    from services.webhook.outgoing import read
    from shared.contract import events, names
    from shared.runtime.errors import BusError

    event = _event()
    headers = events.headers(event, id=f"{TEST}/{uuid.uuid4()}", source=names.source(names.WEBHOOK))
    whole = read(events.subject(event), headers | {"ce-tidegatetest": "true"}, events.encode(event))
    outgoing = FORMATS[settings.format](whole)
    async with Endpoint(settings, timeout_s=timeout_s, names=named) as endpoint:
        begun = time.monotonic()
        try:
            await endpoint.post(outgoing)
        except Failed as e:
            raise BusError(f"{endpoint.where} {e}") from e
    signed = "signed" if settings.secret else f"not signed: set {named.secret}"
    echo(f"{endpoint.where} accepted {outgoing.id} in {(time.monotonic() - begun) * 1000:.0f} ms ({signed})")


def _event() -> Alert:
    from shared.contract.events import Alert, Snapshot

    now = dt.datetime.now(dt.UTC)
    return Alert(
        camera=TEST,
        incident=TEST,
        state="start",
        rule=TEST,
        condition="test",
        severity="info",
        start=now,
        time=now,
        objects=[],
        segments=[],
        snapshot=Snapshot(stream="MEDIA", seq=0, time=now),
        reason="A test of the webhook: nothing happened.",
    )


def _lines(found: Standing) -> list[tuple[str, str]]:
    """Return the status in words."""
    kinds = f": {', '.join(found.events)}" if found.events else ""
    unknown = "none: add 'webhook' to the site file" if found.is_running else "unknown, as no webhook has run"
    lines = [("endpoint", f"{found.endpoint or unknown}{kinds}")]
    if found.endpoint_error:
        lines.append(("unusable", found.endpoint_error))
    if not found.has_begun:
        lines.append(("begins", "with its first start, at WEBHOOK_SINCE (now); what waits before that is skipped"))
    elif found.since is not None:
        lines.append(("began", f"with events since {_clock(found.since)}"))
    else:
        lines.append(("began", f"after event {found.after_seq} of EVENTS"))
    lines.append(("running", "yes" if found.is_running else "no: events wait until it starts"))
    lines.append(("waiting", f"{counted(found.waiting, 'event')}, {found.retrying} of them in flight or tried again"))
    lines.append(("delivered", f"last at {_clock(found.delivered_at)}" if found.delivered_at else "nothing yet"))
    if found.error and found.failed_at:
        again = f"; next try at {_clock(found.retry_at)}" if found.retry_at else ""
        lines.append(("last error", f"at {_clock(found.failed_at)}: {found.error}{again}"))
    if found.dead_letters:
        lines.append(("dead letters", f"{found.dead_letters}: 'tidegate dlq list --service webhook' has the reasons"))
    return lines


def _clock(at: float) -> str:
    from tidegate.client.times import clock, now_here

    return clock(dt.datetime.fromtimestamp(at, dt.UTC), now_here())
