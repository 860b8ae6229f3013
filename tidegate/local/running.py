"""The running stack of a data directory, for other commands."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from shared import bus
from shared.bus.client import Connection
from shared.contract.rights import denials
from shared.runtime import settings
from shared.runtime.errors import BusError, SettingError
from shared.runtime.settings import BusSettings


def default_data() -> Path:
    """Return TIDEGATE_DATA, or `.tidegate` in the home directory."""
    return Path(os.environ.get("TIDEGATE_DATA") or Path.home() / ".tidegate")


def prepare(data: Path) -> Path:
    """Return the directory, created for its owner alone if missing. Raises SettingError if it can't be written."""
    try:
        data.mkdir(parents=True, exist_ok=True, mode=0o700)
        (data / "lock").open("a").close()
    except OSError as e:
        raise unusable(data, e) from e
    return data


def unusable(data: Path, error: OSError) -> SettingError:
    """Return the error for a data directory that the system refuses."""
    reason = (error.strerror or str(error)).lower()
    return SettingError(f"the data directory {data} can't be used ({reason}): choose another with --data")


class Running(msgspec.Struct, frozen=True):
    """The file by which other commands find a running stack in its data directory.

    url: of its server. console: URL of its pages; empty: none.
    """

    url: Annotated[str, Meta(min_length=1)]
    pid: int
    console: str = ""


def console_url(data: Path) -> str:
    """Return the URL of the console: CONSOLE_URL, else that of the stack on `data`. Raises SettingError."""
    if found := os.environ.get("CONSOLE_URL"):
        return found
    try:
        running = msgspec.json.decode((data / "run.json").read_bytes(), type=Running)
    except (OSError, msgspec.DecodeError):
        running = None
    if os.environ.get("NATS_URL") or running is None or not running.console:
        raise SettingError("where is the console? Set CONSOLE_URL to its address, such as https://tide.example.org")
    return running.console


def server_url(data: Path) -> str:
    """Return NATS_URL, else the address of the stack that runs on `data`. Raises SettingError."""
    if found := os.environ.get("NATS_URL"):
        return found
    try:
        return msgspec.json.decode((data / "run.json").read_bytes(), type=Running).url
    except (OSError, msgspec.DecodeError) as e:
        raise SettingError(f"nothing runs on {data}: start 'tidegate up', or set NATS_URL to a server") from e


def runs_elsewhere() -> bool:
    """Return whether NATS_URL names a server, which commands then connect to."""
    return bool(os.environ.get("NATS_URL"))


async def connect(data: Path, identity: str = "admin", *, wait_s: float = 5.0) -> Connection:
    """Connect to the server that NATS_URL names, else to the running stack of `data`. Raises BusError.

    wait_s: for a server that is still starting.
    """
    if runs_elsewhere():
        chosen = settings.load(BusSettings)
        inbox = denials.inbox(chosen.nats_user)
        return await bus.connect(chosen, identity, inbox=inbox, timeout_s=wait_s, raises_denials=True)
    try:
        running = msgspec.json.decode((data / "run.json").read_bytes(), type=Running)
        password = (data / "secrets" / identity).read_text()
    except FileNotFoundError as e:
        raise BusError(f"nothing runs on {data}: start 'tidegate up', or set NATS_URL to a server") from e
    except OSError as e:
        raise unusable(data, e) from e
    except msgspec.DecodeError as e:
        raise BusError(f"{data / 'run.json'} can't be read ({e}): start 'tidegate up' again, which writes it") from e
    found = BusSettings(nats_url=running.url, nats_user=identity, nats_password=password)
    return await bus.connect(found, identity, timeout_s=wait_s, raises_denials=True)
