"""`GET /now`, `GET /history` and `GET /markers`."""

from __future__ import annotations

from typing import Annotated

from litestar import get
from litestar.di import NamedDependency
from litestar.params import QueryParameter

from services.console.now.markers import FoundMarkers
from services.console.now.model import Now
from services.console.now.series.history import HistorySeries
from services.console.now.state import Now as NowPage
from services.console.web import access
from services.console.web.needs import needs
from services.console.web.parameters import User

Page = NamedDependency[NowPage]

Since = Annotated[str, QueryParameter(max_length=64, description="RFC 3339 with a zone; an hour ago where it is empty")]
Until = Annotated[str, QueryParameter(max_length=64, description="RFC 3339 with a zone; now where it is empty")]
Step = Annotated[
    str, QueryParameter(max_length=32, description="seconds of a point, 5 at least; empty: some 300 points")
]
Service = Annotated[str, QueryParameter(max_length=64, description="a service's name, such as cv")]


@get("/now", opt=needs("viewer"))
async def get_now(asker: User, page: Page) -> Now:
    """The current arrivals, backlog, replicas and their reason, their cost, and what needs attention.

    An asker who sees only some cameras gets these and no service: services work for all cameras.
    """
    return page.monitor.now(asker.cameras)


@get("/history", opt=needs("viewer"))
async def get_history(
    asker: User, page: Page, service: Service, since: Since = "", until: Until = "", step: Step = ""
) -> HistorySeries:
    """The history of a service: the console's own, or that of Prometheus for older times."""
    access.everything(asker, "how a service was")
    return await page.history.answer(service, since, until, step)


@get("/markers", opt=needs("viewer"))
async def list_markers(asker: User, page: Page, since: Since = "", until: Until = "") -> FoundMarkers:
    """Incidents, cameras that went offline or online, outages and deployments, of cameras that you may see."""
    return await page.markers.answer(since, until, asker.cameras)


ROUTES = [get_now, get_history, list_markers]
