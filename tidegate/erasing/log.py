"""Entries in the audit log about an erasure: before it, and with its result after it."""

from __future__ import annotations

import datetime as dt
import getpass
import os
import socket
from typing import Any

import msgspec
from nats.aio.client import Client

from shared import bus
from shared.contract import names
from shared.contract.segment import rfc3339
from shared.runtime.plain import plain
from tidegate.erasing.scope import Scope

ACTION = "camera.erase"
_PATIENCE_S = 10.0
_MOST_NAME = 100


async def record(client: Client, scope: Scope, **details: Any) -> None:
    """Store an entry as the console's are. person: the user of this machine, which the identity admin vouches for.

    Raises BusError.
    """
    entry = {
        "time": rfc3339(dt.datetime.now(dt.UTC)),
        "person": _person(),
        "role": "admin",
        "via": "command",
        "action": ACTION,
        "camera": scope.camera,
        "details": {"range": scope.words(), **details},
    }
    id = f"audit/{os.getpid()}-{dt.datetime.now(dt.UTC).timestamp()}"
    headers = {"Nats-Msg-Id": id}
    js = client.jetstream()
    await bus.publish(client, js, names.audit(ACTION), msgspec.json.encode(entry), headers, patience_s=_PATIENCE_S)


def _person() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError, ImportError):
        user = f"uid {os.getuid()}"
    return plain(f"{user}@{socket.gethostname()}")[:_MOST_NAME]
