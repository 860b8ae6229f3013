"""One stored message by direct get, also by time, which nats-py does not support.

    stored = await get(client, "MEDIA", seq=1234)
    stored = await get(client, "MEDIA", subject="media.lobby", since=instant)    # the first stored at or after it

By time, and before a sequence, needs nats-server 2.11 or later.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import Header
from nats.js.errors import APIError, NotFoundError

from shared.contract import names
from shared.contract.segment import rfc3339
from shared.runtime.errors import BusError

TIMEOUT_S = 5.0
# A header of every stored message, and of no status.
SEQUENCE = "Nats-Sequence"
# The server writes nanoseconds, which Python does not parse.
_FRACTION = re.compile(r"(\.\d{1,6})\d*")


class Stored(NamedTuple):
    """time: when the server stored it."""

    seq: int
    subject: str
    time: dt.datetime
    headers: Mapping[str, str]
    data: bytes


async def get(
    client: Client,
    stream: str,
    *,
    subject: str | None = None,
    seq: int | None = None,
    since: dt.datetime | None = None,
    before: int | None = None,
) -> Stored:
    """Return the message at `seq`; with `subject`, its first one at or after `seq`, or stored at or after `since`.

    With only `subject`, return its last message; with `before`, its last one before that sequence.

    Raises NotFoundError if there is none, BusError if the server can't search by time, nats.errors.Error or
    TimeoutError if it does not answer.
    """
    request: dict[str, Any] = {}
    if seq is not None:
        request["seq"] = seq
    if subject is not None:
        request["last_by_subj" if seq is None and since is None else "next_by_subj"] = subject
    if since is not None:
        request["start_time"] = rfc3339(since)
    if before is not None:
        request = {"multi_last": [subject], "up_to_seq": before - 1, "batch": 1}
    message = await client.request(names.api("DIRECT.GET", stream), msgspec.json.encode(request), timeout=TIMEOUT_S)
    headers = dict(message.headers or {})
    if SEQUENCE not in headers and (status := headers.get(Header.STATUS)):
        description = headers.get(Header.DESCRIPTION, "")
        if status == "404":
            raise NotFoundError(code=404, description=description)
        raise APIError(code=int(status), description=description)
    found = stored(message)
    if since is not None and found.time < since - dt.timedelta(milliseconds=1):
        raise BusError("this nats-server can't find messages by time: 2.11 or later is needed")
    return found


def stored(message: Msg) -> Stored:
    """Return the stored message in the reply of a direct get."""
    headers = message.headers or {}
    time = server_time(headers["Nats-Time-Stamp"])
    return Stored(int(headers[SEQUENCE]), headers["Nats-Subject"], time, headers, message.data)


def server_time(text: str) -> dt.datetime:
    """Parse a time of the server. Raises ValueError."""
    return dt.datetime.fromisoformat(_FRACTION.sub(r"\1", text))
