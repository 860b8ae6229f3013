"""The state of the system: streams, checks, versions, dead letters, and the audit log."""

from __future__ import annotations

from typing import Annotated

import msgspec
from litestar import get
from litestar.di import NamedDependency
from litestar.params import QueryParameter

from services.console.console import Change
from services.console.system import changes, letter_routes
from services.console.system.findings import Finding, Level
from services.console.system.state import System
from services.console.system.states import OF_ADMIN, StreamState
from services.console.system.versions import Versions
from services.console.web import access
from services.console.web.needs import PUBLIC, needs
from services.console.web.parameters import User
from services.console.web.times import instant
from shared.contract.deadletters import MOST_SEQ

Page = NamedDependency[System]

MOST = 500
Text = Annotated[str, QueryParameter(max_length=200, description="empty: any")]


class Streams(msgspec.Struct, frozen=True, kw_only=True):
    """bytes, max_bytes: the sums over these streams, and over their limits."""

    streams: list[StreamState]
    bytes: int
    max_bytes: int


class Diagnosis(msgspec.Struct, frozen=True, kw_only=True):
    """level: the worst of all. findings: the worst first."""

    level: Level
    findings: list[Finding]


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """next: `cursor` of the next page; None: this is the last. A page may have fewer than `limit`."""

    changes: list[Change]
    next: str | None


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """connected: whether it reaches its NATS server."""

    connected: bool


@get("/streams", opt=needs("viewer"))
async def list_streams(asker: User, page: Page) -> Streams:
    """Each stream's contents and each consumer's progress, over all cameras. AUDIT is for admins."""
    access.everything(asker, "what streams hold")
    found = [s for s in await page.streams.get() if asker.may("admin") or s.name not in OF_ADMIN]
    return Streams(streams=found, bytes=sum(s.bytes for s in found), max_bytes=sum(s.max_bytes or 0 for s in found))


@get("/doctor", opt=needs("operator"))
async def get_diagnosis(asker: User, page: Page) -> Diagnosis:
    """The health of the system, as far as the console can see, with remedies.

    Findings about all cameras together need the right to all cameras.
    """
    findings = await page.doctor.check(asker)
    return Diagnosis(level=findings[0].level, findings=findings)


@get("/versions", opt=needs("viewer"))
async def get_versions(page: Page) -> Versions:
    """The running versions of the console, of its server and of services that report theirs."""
    return await page.versions.get()


@get("/audit", opt=needs("admin"))
async def list_changes(
    asker: User,
    page: Page,
    since: Annotated[str, QueryParameter(max_length=64, description="RFC 3339; empty: from the beginning")] = "",
    person: Text = "",
    action: Text = "",
    limit: Annotated[int, QueryParameter(ge=1, le=MOST)] = 100,
    cursor: Annotated[int, QueryParameter(ge=0, le=MOST_SEQ, description="`next` of the page before")] = 0,
) -> Changes:
    """People's changes, newest first. `action` is one, such as `camera.add`, or a prefix: `camera.*`."""
    found = await changes.read_page(
        page.console.links.admin,
        asker,
        person=person,
        action=action,
        since=instant(since, "since") if since else None,
        limit=limit,
        before=cursor,
    )
    return Changes(changes=found.found, next=str(found.next) if found.next else None)


@get("/health", opt=PUBLIC)
async def get_health(page: Page) -> Health:
    """Whether the console reaches its NATS server."""
    return Health(connected=page.console.links.are_connected)


ROUTES = [list_streams, get_diagnosis, get_versions, list_changes, *letter_routes.ROUTES, get_health]
