"""Which streams have stopped, as the server itself tells `admin`.

A publish that JetStream refuses, as one with a wrong sequence, is refused as before by a stream that has stopped: no
probe of ours would tell.
"""

from __future__ import annotations

import msgspec
import nats.errors
from nats.aio.client import Client

from shared.contract import names

# How long the answer may take, in seconds.
TIMEOUT_S = 1.0
# What the server says of a stream that has stopped, before the reason.
WRITE_ERROR = " write error: "


class _Fault(msgspec.Struct):
    type: str
    error: str
    stream: str = ""


class _Health(msgspec.Struct):
    errors: list[_Fault] = []


class _Answer(msgspec.Struct):
    data: _Health


async def streams(admin: Client) -> dict[str, str] | None:
    """Those that store nothing until the server is restarted, and why; None where the server does not say."""
    try:
        answer = await admin.request(names.HEALTH, b'{"details": true}', timeout=TIMEOUT_S)
        faults = msgspec.json.decode(answer.data, type=_Answer).data.errors
    except (TimeoutError, nats.errors.Error, msgspec.DecodeError):
        return None
    return {
        fault.stream or "JetStream": fault.error.rpartition(": ")[2]
        for fault in faults
        if WRITE_ERROR in fault.error or fault.type == "JETSTREAM"
    }
