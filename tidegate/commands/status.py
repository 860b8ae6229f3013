"""`tidegate status`: what runs, and what is wrong with it."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import click

from shared.runtime import telemetry
from shared.runtime.errors import BusError
from shared.runtime.redact import redact
from tidegate.commands.options import data_option, screen
from tidegate.local import running
from tidegate.view import status as reading
from tidegate.view import status_screen
from tidegate.view.inert import echo_json
from tidegate.view.status import Status
from tidegate.view.waiting import waited_for

WRONG, UNREACHABLE = 1, 3
WATCH_S = 2.0
# A pipe has no width: its lines are as long as those of a wide terminal.
PIPE_WIDTH = 160


@click.command()
@data_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--watch", is_flag=True, help="Print it again every few seconds, until Ctrl-C.")
def status(data: Path | None, as_json: bool, watch: bool) -> None:
    """Show what is wrong, with remedies; then cameras, services, backlog and room.

    \b
    On this machine:        tidegate status
    Of a server elsewhere:  NATS_URL=nats://10.0.0.4 NATS_USER=admin NATS_PASSWORD_FILE=admin.password tidegate status
    In a script:            tidegate status --json | jq '.wrong[]'

    Exit code 0 means that nothing is wrong, apart from notes; 1 that something is; 3 that the server can't be reached.
    The command only reads. It takes some seconds, in which it hears heartbeats and video.
    """
    telemetry.log_aside()
    folder = data or running.default_data()
    out = screen()
    if not out.is_terminal:
        out.width = PIPE_WIDTH
    while True:
        found = asyncio.run(waited_for(_read(folder), "reading the status"))
        if watch and not as_json:
            out.clear()
        if as_json:
            echo_json(found)
        else:
            status_screen.show(found, out)
        if not watch:
            break
        asyncio.run(asyncio.sleep(WATCH_S))
    sys.exit({"bad": WRONG, "unreachable": UNREACHABLE}.get(found.level, 0))


async def _read(data: Path) -> Status:
    where = os.environ.get("NATS_URL", "")
    try:
        client = await running.connect(data)
        try:
            return await reading.read(client, None if where else data)
        finally:
            await client.close()
    except BusError as e:
        return reading.unreachable(redact(where) or str(data), str(e))
