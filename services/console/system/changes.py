"""The audit log: people's changes from the stream AUDIT, newest first."""

from __future__ import annotations

import datetime as dt
import re

import msgspec
from nats.aio.client import Client

from services.console.console import Change
from services.console.system.stream_pages import Page, newest
from services.console.web.asker import Asker
from services.console.web.refused import Refused
from shared.bus.direct import Stored
from shared.contract import names
from shared.contract.names import END

_ACTION = rf"^[a-z_-]{{1,32}}(\.[a-z_-]{{1,32}}){{0,4}}(\.\*)?{END}"


async def read_page(
    client: Client, asker: Asker, *, person: str, action: str, since: dt.datetime | None, limit: int, before: int
) -> Page[Change]:
    """Return a page of changes to cameras that `asker` may see, and to all else if they see all cameras.

    client: an admin's. person, action: empty: any; `camera.*` is a prefix. Raises Refused, and as `newest` does.
    """
    if action and not re.search(_ACTION, action):
        raise Refused(400, "action is none: take one such as camera.add, or camera.* for all of these")

    async def select(stored: Stored) -> Change | None:
        change = _read(stored)
        if change is None or (person and change.person != person):
            return None
        return change if (asker.cameras is None if change.camera is None else asker.sees(change.camera)) else None

    subject = names.audit(action.removesuffix("*") + (">" if action.endswith("*") else "") if action else ">")
    return await newest(client, names.AUDIT, subject, select, limit=limit, before=before, since=since)


def _read(stored: Stored) -> Change | None:
    try:
        return msgspec.json.decode(stored.data, type=Change)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
