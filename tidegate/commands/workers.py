"""`tidegate workers`: run autoscaled services on this machine, for a server elsewhere."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path
from typing import Any

import click

from shared.contract import names
from shared.runtime.errors import SettingError
from tidegate.commands.options import FOLDER, OVER_ZERO

# Of a machine. It has no '_', which separates it from the rest of a replica's name.
NAME = r"[A-Za-z0-9-]{1,32}"
# systemd's folder of a unit's credentials.
CREDENTIALS = "CREDENTIALS_DIRECTORY"


@click.command()
@click.argument("services", metavar="SERVICE...", nargs=-1, required=True)
@click.option(
    "--max",
    "most",
    type=click.IntRange(1, 1000),
    envvar="WORKERS_MAX",
    help="Maximum replicas of each service on this machine. Default: its cores, or 1 with a GPU.",
)
@click.option("--name", envvar="WORKERS_NAME", help="Name of this machine, different on each. Default: its host name.")
@click.option(
    "--passwords",
    type=FOLDER,
    envvar=["WORKERS_PASSWORDS", CREDENTIALS],
    help="Folder with the files 'scaler' and one of each service, from 'tidegate accounts'. "
    f"Default: {CREDENTIALS}, which systemd sets.",
)
@click.option(
    "--tenant", default=names.ACCOUNT, show_default=True, help="Account of the server, as in 'tidegate accounts'."
)
@click.option(
    "--scaled-object",
    envvar="SCALED_OBJECT",
    help="File of the ScaledObject, for one service. Its maxReplicaCount is of all machines. "
    "Default: deploy/keda/demand.",
)
@click.option(
    "--speed", type=OVER_ZERO, default=1.0, show_default=True, help="Speed of the autoscaler's clock; 1 is real time."
)
def workers(services: tuple[str, ...], name: str | None, passwords: Path | None, **options: Any) -> None:
    """Run workers of SERVICE, such as cv, embed or vlm, for the server of NATS_URL, until Ctrl-C.

    \b
    On a machine:           NATS_URL=tls://nats.example.org tidegate workers cv --max 2 --passwords secrets
    Two services:           tidegate workers cv embed --passwords secrets
    A GPU of several:       CUDA_VISIBLE_DEVICES=1 CV_DEVICE=cuda tidegate workers cv --max 1 --name gpu-1-1

    The machines that run this command for a server share its work: they scale from 0 to the sum of each --max. If a
    machine ends, the others run its part.
    """
    import asyncio

    if not os.environ.get("NATS_URL"):
        raise SettingError("NATS_URL is not set: name the server, such as tls://nats.example.org:4222")
    if passwords is None:
        raise SettingError("--passwords is not set: name a folder with the files 'scaler' and one of each service")
    from tidegate.local.workers import Machine
    from tidegate.view.workers import run

    machine = Machine(name=_checked(name), passwords=passwords, tenant=options.pop("tenant"))
    asyncio.run(run(machine, tuple(dict.fromkeys(services)), **options))


def _checked(name: str | None) -> str:
    """Return the name of this machine. Raises SettingError."""
    if name is None:
        return re.sub(r"[^A-Za-z0-9]+", "-", socket.gethostname().partition(".")[0])[:32].strip("-") or "machine"
    if not re.fullmatch(NAME, name):
        raise SettingError(f"--name {name!r} can't be used: take up to 32 letters, digits and '-', such as gpu-1")
    return name
