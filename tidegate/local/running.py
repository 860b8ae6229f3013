"""The stack that runs on a data directory: how other commands find it."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
from nats.aio.client import Client

from shared import bus
from shared.runtime import settings
from shared.runtime.errors import BusError
from shared.runtime.settings import BusSettings


def default_data() -> Path:
    """TIDEGATE_DATA, or `.tidegate` in the home directory."""
    return Path(os.environ.get("TIDEGATE_DATA") or Path.home() / ".tidegate")


class Running(msgspec.Struct, frozen=True):
    """What a running stack leaves in its data directory for other commands to find it by."""

    url: str
    pid: int


async def connect(data: Path, identity: str = "admin") -> Client:
    """Connect to the server that NATS_URL names, else to the stack that runs on `data`. Raises BusError."""
    if os.environ.get("NATS_URL"):
        return await bus.connect(settings.load(BusSettings), identity, inbox="_INBOX_admin", timeout_s=5)
    try:
        running = msgspec.json.decode((data / "run.json").read_bytes(), type=Running)
        password = (data / "secrets" / identity).read_text()
    except FileNotFoundError as e:
        raise BusError(f"nothing runs on {data}: start 'tidegate up', or set NATS_URL to a server") from e
    found = BusSettings(nats_url=running.url, nats_user=identity, nats_password=password)
    return await bus.connect(found, identity, timeout_s=5)
