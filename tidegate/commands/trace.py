"""`tidegate trace`: export recorded arrivals for the simulator."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import click
from nats.aio.client import Client

from shared.contract.names import check_camera
from shared.contract.work.usage import MINUTE_S
from shared.runtime.errors import SettingError
from tidegate.client import usage
from tidegate.client.files import written
from tidegate.client.times import instant, now_here
from tidegate.client.usage import ServiceUsage, takes_media
from tidegate.commands import Group
from tidegate.commands.options import NEW_FILE, TIME, data_option, with_admin
from tidegate.view.inert import echo
from tidegate.view.waiting import telling


@click.group(cls=Group)
def trace() -> None:
    """Export recorded arrivals per minute.

    \b
    For the simulator:      tidegate trace export cv -o arrivals.csv
    """


@trace.command("export")
@data_option
@click.argument("service", default="cv")
@click.option("--since", metavar="TIME", default="30d", show_default=True, help=f"Start of the time range: {TIME}.")
@click.option("--camera", help="Camera whose segments to count. Default: all.")
@click.option("-o", "--output", "to", type=NEW_FILE, help="File to write. Default: standard output.")
def export(data: Path | None, service: str, since: str, camera: str | None, to: Path | None) -> None:
    """Write the arrivals of SERVICE as a CSV file of t_s,arrivals, with a row per minute.

    \b
    A month:                tidegate trace export cv --since 30d -o arrivals.csv
    Simulate it:            tidegate simulate --trace arrivals.csv --service-rate 12 --compare
    One camera:             tidegate trace export cv --camera lobby -o lobby.csv

    t_s counts seconds from the first recorded minute. SERVICE defaults to cv.
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
        service_usage = book.of(service, since=int(begin.timestamp()) // MINUTE_S)
        if service_usage is None or not service_usage.arrivals.any():
            what = f"camera {camera}" if camera else service
            raise SettingError(
                f"nothing is known yet of what arrives at {what}: workers say it every ten minutes and as they end, "
                "ingest every half hour"
            )
        _write(service_usage, to)

    with_admin(data, work)


def _write(service_usage: ServiceUsage, to: Path | None) -> None:
    rows = [f"{n * MINUTE_S},{count}" for n, count in enumerate(service_usage.arrivals.tolist())]
    text = "\n".join(["t_s,arrivals", *rows])
    if to is None:
        echo(text)
    else:
        with written(to, "--output") as part:
            part.write_text(text + "\n")
    begins = dt.datetime.fromtimestamp(service_usage.first * MINUTE_S).astimezone()
    echo(
        f"{len(rows):,} minutes from {begins:%Y-%m-%d %H:%M}, {service_usage.known.mean():.1%} of them known", err=True
    )
