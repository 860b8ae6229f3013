"""What people changed, as the stream AUDIT has it, newest first."""

from __future__ import annotations

import datetime as dt
import re

import msgspec
from nats.aio.client import Client

from services.console.people.asker import Asker
from services.console.system.newest import Page, newest
from services.console.web.console import Change
from services.console.web.refused import Refused
from shared.bus.direct import Stored
from shared.contract import names
from shared.contract.names import END

_ACTION = rf"^[a-z_-]{{1,32}}(\.[a-z_-]{{1,32}}){{0,4}}(\.\*)?{END}"


async def listed(
    client: Client, asker: Asker, *, person: str, action: str, since: dt.datetime | None, limit: int, before: int
) -> Page[Change]:
    """A page of what people did to cameras that `asker` may see, and, where they see all, to all else.

    client: an admin's. person, action: empty: any; `camera.*` is all that begins so. Raises Refused, and as `newest`
    does.
    """
    if action and not re.search(_ACTION, action):
        raise Refused(400, "action is none: take one such as camera.add, or camera.* for all of these")

    async def keep(stored: Stored) -> Change | None:
        said = _read(stored)
        if said is None or (person and said.person != person):
            return None
        return said if (asker.cameras is None if said.camera is None else asker.sees(said.camera)) else None

    subject = names.audit(action.removesuffix("*") + (">" if action.endswith("*") else "") if action else ">")
    return await newest(client, names.AUDIT, subject, keep, limit=limit, before=before, since=since)


def _read(stored: Stored) -> Change | None:
    try:
        return msgspec.json.decode(stored.data, type=Change)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
