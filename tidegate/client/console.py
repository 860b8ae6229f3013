"""One-time links into the console."""

from __future__ import annotations

import time

import nats.errors
from nats.aio.client import Client

from services.console.accounts.records import LINK_S, new_link
from services.console.web.asker import Role
from shared.bus.mirror import bind
from shared.contract import names
from shared.runtime.errors import BusError


async def link(client: Client, person: str, role: Role) -> str:
    """Return the end of a new link. It signs `person` in once, within a day; a new person is created with that role.

    Raises BusError.
    """
    names.check_token(person, "name")
    secret, key, entry = new_link(person, role, time.time())
    js = client.jetstream()
    await bind(js, names.CONSOLE)
    try:
        await js.publish(f"$KV.{names.CONSOLE}.{key}", entry, msg_ttl=LINK_S)
    except (TimeoutError, nats.errors.Error) as e:
        raise BusError(f"the link can't be kept ({e!r}): see the log of the server") from e
    return secret


def address(url: str, secret: str) -> str:
    """Return the whole link. url: of the console."""
    return f"{url.rstrip('/')}/#/link/{secret}"
