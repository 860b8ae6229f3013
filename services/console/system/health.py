"""The console's own health, for its supervisor."""

from __future__ import annotations

import msgspec
from litestar import get
from litestar.di import NamedDependency

from services.console.console import Console
from services.console.web.needs import PUBLIC


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """connected: whether it reaches its NATS server."""

    connected: bool


@get("/health", opt=PUBLIC)
async def get_health(console: NamedDependency[Console]) -> Health:
    """Whether the console reaches its NATS server."""
    return Health(connected=console.links.are_connected)


ROUTES = [get_health]
