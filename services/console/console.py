"""What all routes share: settings, the connections, the people, the cameras, and the audit log."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import time
from typing import Any

import msgspec
from litestar.di import NamedDependency
from nats.js.errors import APIError

from services.console.accounts.authentication import Authenticator
from services.console.accounts.credentials import Credentials
from services.console.accounts.limits import Limits
from services.console.accounts.passwords import Passwords
from services.console.accounts.people import People
from services.console.links.links import Links
from services.console.links.mirrored_bucket import MirroredBucket
from services.console.settings import ConsoleSettings
from services.console.web.asker import Asker
from services.console.web.refused import Refused
from shared import bus
from shared.bus.client import Connection
from shared.bus.mirror import Mirror, all_read, mirror
from shared.contract import names
from shared.contract.segment import rfc3339
from shared.runtime.errors import BusError

_AUDIT_S = 10.0


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """A user's change, in the stream AUDIT."""

    time: str
    person: str
    role: str
    via: str
    action: str
    camera: str | None = None
    details: dict[str, Any] = {}


class Console:
    """What all routes share. Created by `open`. cameras: the bucket's entries, removed cameras among them."""

    def __init__(self, settings: ConsoleSettings, links: Links, mirrors: dict[str, Mirror]) -> None:
        self.settings = settings
        self.links = links
        self.mirrors = mirrors
        self.cameras = mirrors[names.CAMERAS]
        bucket = self.bucket(names.CONSOLE, links.own)
        self.credentials = Credentials(bucket, settings.console_session_h * 3600)
        self.people = People(bucket, self.credentials)
        self.authenticator = Authenticator(self.people)
        self.passwords = Passwords()
        self.limits = Limits(time.monotonic)
        self._process = f"{os.getpid()}-{time.time_ns():x}"
        self._audit_count = 0

    @classmethod
    async def open(cls, settings: ConsoleSettings, links: Links) -> Console:
        """Create a console, whose mirrors are not read yet. Raises BusError if a bucket is missing."""
        changed = asyncio.Event()
        wanted = {names.CONSOLE: links.own, names.REVIEWS: links.own, names.CAMERAS: links.viewer}
        wanted |= {names.RULES: links.viewer, names.RUNS: links.viewer}
        return cls(settings, links, {name: await mirror(client, name, changed) for name, client in wanted.items()})

    async def ready(self) -> None:
        """Wait until all mirrors are complete."""
        await all_read(*self.mirrors.values())

    def bucket(self, name: str, client: Connection) -> MirroredBucket:
        """Return a mirrored bucket that is written with the rights of `client`."""
        return MirroredBucket(client, name, self.mirrors[name])

    @property
    def camera_ids(self) -> list[str]:
        """The ids of all cameras, sorted."""
        return sorted(key for key in self.cameras.values if not names.is_removed(key))

    def current(self, asker: Asker) -> Asker | None:
        """Return the user with the rights they have now; None once they have none."""
        return self.authenticator.refresh(asker)

    async def audit(self, asker: Asker, action: str, *, camera: str | None = None, **details: Any) -> None:
        """Record a change in the audit log before it is made. Raises Refused if it can't be recorded.

        details: no secrets.
        """
        self._audit_count += 1
        change = Change(
            time=rfc3339(dt.datetime.now(dt.UTC)),
            person=asker.name,
            role=asker.role,
            via=asker.via,
            action=action,
            camera=camera,
            details=details,
        )
        id = f"audit/{self._process}/{self._audit_count}"
        try:
            await bus.publish(
                self.links.own,
                self.links.own.jetstream(),
                names.audit(action),
                msgspec.json.encode(change),
                {"Nats-Msg-Id": id},
                patience_s=_AUDIT_S,
            )
        except (BusError, APIError) as e:
            raise Refused(503, f"nothing was changed, as it can't be kept in the audit log: {e}") from e


# A route's parameter `console`.
Shared = NamedDependency[Console]
