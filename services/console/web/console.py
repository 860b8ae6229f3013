"""What all routes share: the connections, the people, and what each room keeps up to date."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import time
from collections.abc import Collection
from typing import Any

import msgspec
from nats.js.errors import APIError

from services.console.ask.room import Ask
from services.console.cameras.previewing import Previewing
from services.console.cameras.trying import Trying
from services.console.cameras.watch import Watch
from services.console.feed.hub import Hub
from services.console.find.room import Find
from services.console.links.links import Links
from services.console.now.room import Room
from services.console.oidc.provider import Provider
from services.console.people.asker import Asker
from services.console.people.kept import Kept
from services.console.people.limits import Limits
from services.console.people.passwords import Passwords
from services.console.people.store import People
from services.console.recordings.second import Second
from services.console.review.room import Review
from services.console.scaling.room import Scaling
from services.console.settings import ConsoleSettings
from services.console.system.room import System
from services.console.video.clips import Clips
from services.console.video.decoding import Decoders
from services.console.video.keeping import Keeping
from services.console.video.live import Live
from services.console.video.pictures import Pictures
from services.console.web.refused import Refused
from shared import bus
from shared.bus.mirror import Mirror, all_read, mirror
from shared.contract import names
from shared.contract.segment import rfc3339
from shared.runtime.errors import BusError

_AUDIT_S = 10.0


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody changed, as the stream AUDIT has it."""

    time: str
    person: str
    role: str
    via: str
    action: str
    camera: str | None = None
    details: dict[str, Any] = {}


class Console:
    """See the module. Made by `opened`."""

    def __init__(self, settings: ConsoleSettings, links: Links, mirrors: dict[str, Mirror]) -> None:
        self.settings = settings
        self.links = links
        self.cameras = mirrors[names.CAMERAS]
        self.rules = mirrors[names.RULES]
        self.review = Review(links.viewer, Kept(links.own, names.REVIEWS, mirrors[names.REVIEWS]))
        kept = Kept(links.own, names.CONSOLE, mirrors[names.CONSOLE])
        self.people = People(kept, Passwords(), settings.console_session_h * 3600)
        self.provider = Provider(settings) if settings.console_oidc_issuer else None
        self.limits = Limits(time.monotonic)
        self.hub = Hub(links.viewer)
        self.now = Room(links.viewer, self.cameras, self.hub.taps, settings)
        self.watch = Watch(links.viewer, self.cameras, self.hub)
        self.trying = Trying()
        self.previewing = Previewing(links.viewer)
        self.rules_kept = Kept(links.operator, names.RULES, self.rules)
        self.hub.taps.append(self.review.reading.hear)
        self.scaling = Scaling(links)
        self.decoders = Decoders(settings.console_decoders)
        self.pictures = Pictures(links.viewer, self.decoders)
        self.clips = Clips(links.viewer, settings.console_clip_max_mb)
        self.recorded = Keeping(links.viewer)
        self.second = Second(links.viewer, mirrors[names.RUNS])
        self.live = Live(links.viewer)
        self.system = System(links, settings, self.cameras, self.people)
        self.find = Find(links, self.cameras.values, kept, self.current, self.recorded.has)
        self.ask = Ask(links, self.current)
        self._mirrors = list(mirrors.values())
        self._process = f"{os.getpid()}-{time.time_ns():x}"
        self._said = 0

    @classmethod
    async def opened(cls, settings: ConsoleSettings, links: Links) -> Console:
        """Its copies of the buckets are not read yet: see `run`. Raises BusError where one is missing."""
        changed = asyncio.Event()
        wanted = {names.CONSOLE: links.own, names.REVIEWS: links.own, names.CAMERAS: links.viewer}
        wanted |= {names.RULES: links.viewer, names.RUNS: links.viewer}
        return cls(settings, links, {name: await mirror(client, name, changed) for name, client in wanted.items()})

    def running(self) -> list[Any]:
        """What goes on for as long as the console runs, as coroutines."""
        return [
            *(one.run() for one in self._mirrors),
            self.hub.run(),
            self.now.run(),
            self.watch.run(),
            self.decoders.run(),
            self.review.reading.run(),
            self.recorded.run(),
            self.scaling.run(),
            self.ask.run(),
            self.system.run(),
        ]

    async def ready(self) -> None:
        """Wait until all copies are complete."""
        await all_read(*self._mirrors)

    @property
    def known(self) -> Collection[str]:
        """The ids of all cameras there are."""
        return self.cameras.values.keys()

    @property
    def camera_ids(self) -> list[str]:
        """Of all cameras there are, sorted."""
        return sorted(key for key in self.cameras.values if not names.is_removed(key))

    def current(self, asker: Asker) -> Asker | None:
        """Who asked, as they are now; None once they may no longer."""
        return self.people.again(asker)

    async def audit(self, asker: Asker, action: str, *, camera: str | None = None, **details: Any) -> None:
        """Keep what somebody is about to change, before it is. Raises Refused where it can't be kept.

        details: no secret.
        """
        self._said += 1
        said = Change(
            time=rfc3339(dt.datetime.now(dt.UTC)),
            person=asker.name,
            role=asker.role,
            via=asker.via,
            action=action,
            camera=camera,
            details=details,
        )
        id = f"audit/{self._process}/{self._said}"
        try:
            await bus.publish(
                self.links.own,
                self.links.own.jetstream(),
                names.audit(action),
                msgspec.json.encode(said),
                {"Nats-Msg-Id": id},
                patience_s=_AUDIT_S,
            )
        except (BusError, APIError) as e:
            raise Refused(503, f"nothing was changed, as it can't be kept in the audit log: {e}") from e
