"""What all routes share: the connections, the people, and the state of each page."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import time
from collections.abc import Collection
from typing import Any

import msgspec
from nats.js.errors import APIError

from services.console.ask.state import Ask
from services.console.cameras.monitor import CameraMonitor
from services.console.cameras.rule_preview import RulePreviewer
from services.console.cameras.trial import CameraTrial
from services.console.feed.hub import Hub
from services.console.find.state import Find
from services.console.links.links import Links
from services.console.now.state import Now
from services.console.oidc.provider import Provider
from services.console.people.asker import Asker
from services.console.people.limits import Limits
from services.console.people.mirrored_bucket import MirroredBucket
from services.console.people.passwords import Passwords
from services.console.people.store import People
from services.console.recordings.reanalysis_runs import Reanalyses
from services.console.review.state import Review
from services.console.scaling.state import Scaling
from services.console.settings import ConsoleSettings
from services.console.system.state import System
from services.console.video.clips import Clips
from services.console.video.decoding import Decoders
from services.console.video.live import Live
from services.console.video.pictures import Pictures
from services.console.video.recorded_cameras import RecordingPeriods
from services.console.web.refused import Refused
from shared import bus
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
    """The state that all routes share. Created by `open`."""

    def __init__(self, settings: ConsoleSettings, links: Links, mirrors: dict[str, Mirror]) -> None:
        self.settings = settings
        self.links = links
        self.cameras = mirrors[names.CAMERAS]
        self.rules = mirrors[names.RULES]
        self.review = Review(links.viewer, MirroredBucket(links.own, names.REVIEWS, mirrors[names.REVIEWS]))
        bucket = MirroredBucket(links.own, names.CONSOLE, mirrors[names.CONSOLE])
        self.people = People(bucket, Passwords(), settings.console_session_h * 3600)
        self.provider = Provider(settings) if settings.console_oidc_issuer else None
        self.limits = Limits(time.monotonic)
        self.hub = Hub(links.viewer)
        self.now = Now(links.viewer, self.cameras, self.hub.taps, settings)
        self.camera_monitor = CameraMonitor(links.viewer, self.cameras, self.hub)
        self.camera_trial = CameraTrial()
        self.rule_previewer = RulePreviewer(links.viewer)
        self.rules_bucket = MirroredBucket(links.operator, names.RULES, self.rules)
        self.hub.taps.append(self.review.reader.hear)
        self.scaling = Scaling(links)
        self.decoders = Decoders(settings.console_decoders)
        self.pictures = Pictures(links.viewer, self.decoders)
        self.clips = Clips(links.viewer, settings.console_clip_max_mb)
        self.recorded = RecordingPeriods(links.viewer)
        self.reanalyses = Reanalyses(links.viewer, mirrors[names.RUNS])
        self.live = Live(links.viewer)
        self.system = System(links, settings, self.cameras, self.people)
        self.find = Find(links, self.cameras.values, bucket, self.current, self.recorded.has)
        self.ask = Ask(links, self.current)
        self._mirrors = list(mirrors.values())
        self._process = f"{os.getpid()}-{time.time_ns():x}"
        self._audit_count = 0

    @classmethod
    async def open(cls, settings: ConsoleSettings, links: Links) -> Console:
        """Create a console. Its mirrors are not read yet: see `running`. Raises BusError if a bucket is missing."""
        changed = asyncio.Event()
        wanted = {names.CONSOLE: links.own, names.REVIEWS: links.own, names.CAMERAS: links.viewer}
        wanted |= {names.RULES: links.viewer, names.RUNS: links.viewer}
        return cls(settings, links, {name: await mirror(client, name, changed) for name, client in wanted.items()})

    def running(self) -> list[Any]:
        """Return the background work as coroutines, which run as long as the console."""
        return [
            *(one.run() for one in self._mirrors),
            self.hub.run(),
            self.now.run(),
            self.camera_monitor.run(),
            self.decoders.run(),
            self.review.reader.run(),
            self.recorded.run(),
            self.scaling.run(),
            self.ask.run(),
            self.system.run(),
        ]

    async def ready(self) -> None:
        """Wait until all mirrors are complete."""
        await all_read(*self._mirrors)

    @property
    def camera_keys(self) -> Collection[str]:
        """The keys of the bucket `cameras`: all ids, and the keys of removed cameras."""
        return self.cameras.values.keys()

    @property
    def camera_ids(self) -> list[str]:
        """The ids of all cameras, sorted."""
        return sorted(key for key in self.cameras.values if not names.is_removed(key))

    def current(self, asker: Asker) -> Asker | None:
        """Return the user with the rights they have now; None once they have none."""
        return self.people.refresh(asker)

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
