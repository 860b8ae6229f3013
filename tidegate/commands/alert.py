"""`tidegate alert`: the last alerts, and their pictures, which outlive the video."""

from __future__ import annotations

import datetime as dt
from collections import deque
from pathlib import Path

import click
import msgspec
from nats.aio.client import Client

from shared.bus.log import Log
from shared.client import pictures, registry
from shared.contract import names
from shared.contract.events import Alert, decode, encode
from shared.runtime.errors import BadMessage, Refusal, SettingError
from tidegate.client.files import written
from tidegate.client.times import clock, instant, now_here
from tidegate.commands import Group
from tidegate.commands.options import NEW_FILE, TIME, data_option, screen, with_admin
from tidegate.view import records
from tidegate.view.inert import echo, echo_json
from tidegate.view.waiting import waited_for

FIELDS = ("time", "camera", "rule", "severity", "incident")
MOST = 1000


@click.group(cls=Group)
def alert() -> None:
    """List alerts, and save or erase their pictures.

    \b
    Alerts of the last day: tidegate alert list
    Save a picture:         tidegate alert picture crowd.7.1764598397000 crowd.jpg
    Erase a camera's:       tidegate alert erase lobby

    'tidegate up --analytics' stores one picture with each alert for a week: docs/how-to/pictures.md.
    """


@alert.command("list")
@data_option
@click.option("--camera", help="Only alerts of this camera. Default: all cameras.")
@click.option("--since", metavar="TIME", default="24h", show_default=True, help=f"Start of the time range: {TIME}.")
@click.option("--json", "as_json", is_flag=True, help="Print one event a line, as JSON.")
def list_alerts(data: Path | None, camera: str | None, since: str, as_json: bool) -> None:
    """List alerts with their incidents' ids, oldest first.

    \b
    Of one camera:          tidegate alert list --camera lobby --since 2h
    For a script:           tidegate alert list --json

    Alerts are stored for a week. The newest 1000 are listed.
    """
    begin = instant("--since", since, now_here())
    subject = names.event(Alert.kind, names.check_camera(camera) if camera else "*")
    with_admin(data, lambda client: _list(client, subject, begin, as_json=as_json))


async def _list(client: Client, subject: str, since: dt.datetime, *, as_json: bool) -> None:
    found = await waited_for(newest(client, subject, since), "reading alerts")
    if as_json:
        for one in found:
            echo_json(msgspec.json.decode(encode(one)))
        return
    now = now_here()
    if len(found) == MOST:
        echo(f"these are the newest {MOST:,} alerts: give --camera, or a later --since", err=True)
    rows = [(clock(one.start, now), one.camera, one.rule, one.severity, one.incident) for one in found]
    records.show(screen(), FIELDS, rows, "no alerts in this time: see 'tidegate rules --help'")


async def newest(client: Client, subject: str, since: dt.datetime, most: int = MOST) -> list[Alert]:
    """Return the newest alerts on a subject since a time, the oldest first."""
    found: deque[Alert] = deque(maxlen=most)
    async with Log(client, names.ALERTS) as log:
        batch = await log.since(subject, since)
        while batch:
            for stored in batch:
                try:
                    found.append(decode(stored.data, Alert, stored.subject))
                except BadMessage:  # not from a service
                    continue
            batch = await log.read(subject, batch[-1].seq + 1)
    return list(found)


@alert.command("picture")
@data_option
@click.option("--camera", default="*", help="Camera of the alert, if two cameras share the incident's id.")
@click.argument("incident")
@click.argument("file", type=NEW_FILE)
def picture(data: Path | None, camera: str, incident: str, file: Path) -> None:
    """Save the picture of the alert about INCIDENT as FILE, a JPEG.

    \b
    Save a picture:         tidegate alert picture crowd.7.1764598397000 crowd.jpg
    To another program:     tidegate alert picture crowd.7.1764598397000 /dev/stdout | display

    'tidegate alert list' has the ids of incidents. Pictures are stored for a week (PICTURES_MAX_AGE_S), with the masks
    of recordings. If there is none, the error says why.
    """
    if camera != "*":
        names.check_camera(camera)
    with_admin(data, lambda client: _save(client, camera, incident, file))


async def _save(client: Client, camera: str, incident: str, file: Path) -> None:
    try:
        found = await waited_for(pictures.read(client, camera, incident), "reading the picture")
    except Refusal as e:
        raise SettingError(str(e)) from e
    with written(file, "FILE") as part:
        part.write_bytes(found.jpeg)
    assert found.time
    echo(f"{file}: {clock(found.time, now_here())}, {len(found.jpeg) / 1000:.0f} kB", err=True)


@alert.command("erase")
@data_option
@click.argument("camera")
def erase(data: Path | None, camera: str) -> None:
    """Erase all pictures of CAMERA's alerts. The alerts stay.

    \b
    Erase a camera's:       tidegate alert erase lobby

    The camera need not exist any more. Its next alert has a picture again, unless it is removed, or its policy of
    recordings is 'never'. 'tidegate erase' erases everything else of it, too.
    """
    with_admin(data, lambda client: _erase(client, camera))


async def _erase(client: Client, camera: str) -> None:
    count = await waited_for(pictures.erase(client.jetstream(), camera), "erasing pictures")
    if not count and (sentence := await registry.missing(client.jetstream(), camera)):
        raise SettingError(sentence)
    echo(f"camera {camera}: {count} pictures erased")
