"""`tidegate trace`: what arrived, as the simulator takes it."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import click
from nats.aio.client import Client

from shared.contract.names import check_camera
from shared.contract.usage import MINUTE_S
from shared.runtime.errors import SettingError
from tidegate.client import usage
from tidegate.client.files import written
from tidegate.client.times import instant, now_here
from tidegate.client.used import ServiceUsage, takes_media
from tidegate.commands import Group
from tidegate.commands.options import NEW_FILE, TIME, data_option, with_admin
from tidegate.view.inert import echo
from tidegate.view.waiting import telling


@click.group(cls=Group)
def trace() -> None:
    """Take out what arrived, minute by minute.

    \b
    For the simulator:      tidegate trace export cv -o arrivals.csv
    """


@trace.command("export")
@data_option
@click.argument("service", default="cv")
@click.option("--since", metavar="TIME", default="30d", show_default=True, help=f"Begin there: {TIME}.")
@click.option("--camera", help="Only what this camera sent.")
@click.option("-o", "--output", "to", type=NEW_FILE, help="Write it into this file. Default: standard output.")
def export(data: Path | None, service: str, since: str, camera: str | None, to: Path | None) -> None:
    """Write what arrived at SERVICE as a CSV file of t_s,arrivals, a row a minute.

    \b
    Of a month:             tidegate trace export cv --since 30d -o arrivals.csv
    And then:               tidegate simulate --trace arrivals.csv --service-rate 12 --compare
    Of a camera:            tidegate trace export cv --camera lobby -o lobby.csv

    t_s are seconds from the first minute of which anything is known. SERVICE is cv where none is given.
    """
    if camera is not None:
        check_camera(camera)
        if not takes_media(service):
            raise SettingError(f"--camera {camera}: what arrives at {service} is not what cameras send; leave it out")
    begin = instant("--since", since, now_here())

    async def work(client: Client) -> None:
        with telling() as tell:
            read = usage.read(client, begin, lambda n: tell(f"{n:,} messages on usage read"), camera=camera or "")
            book = await read
        found = book.of(service, since=int(begin.timestamp()) // MINUTE_S)
        if found is None or not found.arrivals.any():
            what = f"camera {camera}" if camera else service
            raise SettingError(
                f"nothing is known yet of what arrives at {what}: workers say it every ten minutes and as they end, "
                "ingest every half hour"
            )
        _write(found, to)

    with_admin(data, work)


def _write(found: ServiceUsage, to: Path | None) -> None:
    rows = [f"{n * MINUTE_S},{count}" for n, count in enumerate(found.arrivals.tolist())]
    text = "\n".join(["t_s,arrivals", *rows])
    if to is None:
        echo(text)
    else:
        with written(to, "--output") as part:
            part.write_text(text + "\n")
    begins = dt.datetime.fromtimestamp(found.first * MINUTE_S).astimezone()
    echo(f"{len(rows):,} minutes from {begins:%Y-%m-%d %H:%M}, {found.known.mean():.1%} of them known", err=True)
