"""The stopped streams, as the server itself reports to `admin`.

A stopped stream still refuses invalid publishes, such as those with a wrong sequence, as before: a probe would detect
nothing.
"""

from __future__ import annotations

import msgspec
import nats.errors
from nats.aio.client import Client

from shared.contract import names

# Maximum time of the answer, in seconds.
TIMEOUT_S = 1.0
# The server's text for a stopped stream, before the reason.
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
    """Return the streams that store nothing until a restart, and why; None if the server does not answer."""
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
