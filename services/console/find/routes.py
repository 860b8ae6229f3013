"""`POST /find`, the labels to filter by, moments as CSV, and saved searches."""

from __future__ import annotations

from typing import Annotated

import msgspec
from litestar import Response, delete, get, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter

from services.console.find.export import as_csv
from services.console.find.saved_searches import SavedSearch, SearchEntry, check_may_change
from services.console.find.searches import Moments, MomentsWanted
from services.console.find.state import Find
from services.console.web.disconnects import while_there
from services.console.web.needs import needs
from services.console.web.parameters import AnyRequest, User

Page = NamedDependency[Find]

_Cameras = Annotated[str, QueryParameter(max_length=70_000, description="names with commas; empty: all you may see")]


class Labels(msgspec.Struct, frozen=True, kw_only=True):
    """Sorted labels."""

    labels: list[str]


class SavedSearches(msgspec.Struct, frozen=True, kw_only=True):
    """Your saved searches, by name."""

    saved: list[SavedSearch]


@post("/find", opt=needs("viewer"), status_code=200)
async def find_moments(request: AnyRequest, asker: User, page: Page, data: JSONBody[MomentsWanted]) -> Moments:
    """Moments of cameras that you may see, with pictures."""
    return await while_there(request, page.client.find(asker, data))


@post("/find/export", opt=needs("viewer"), status_code=200, media_type="text/csv")
async def export_moments(request: AnyRequest, asker: User, page: Page, data: JSONBody[MomentsWanted]) -> Response[str]:
    """The moments of `find`, as CSV."""
    found = await while_there(request, page.client.find(asker, data, pictures=False))
    headers = {"Content-Disposition": 'attachment; filename="found.csv"'}
    return Response(as_csv(found.moments), media_type="text/csv; charset=utf-8", headers=headers)


@get("/find/labels", opt=needs("viewer"))
async def list_labels(asker: User, page: Page, cameras: _Cameras = "") -> Labels:
    """Labels seen at cameras that you may see."""
    return Labels(labels=await page.client.labels(asker, [c for c in cameras.split(",") if c]))


@get("/find/saved", opt=needs("viewer"))
async def list_searches(asker: User, page: Page) -> SavedSearches:
    """Your saved searches."""
    return SavedSearches(saved=page.searches.all(asker))


@get("/find/saved/{name:str}", opt=needs("viewer"))
async def get_search(name: FromPath[str], asker: User, page: Page) -> SavedSearch:
    """One of your saved searches."""
    return page.searches.get(asker, name)


@put("/find/saved/{name:str}", opt=needs("viewer"), status_code=204)
async def save_search(name: FromPath[str], asker: User, page: Page, data: JSONBody[SearchEntry]) -> None:
    """Save a search; it replaces the one of this name. You can save at most 50."""
    check_may_change(asker)
    page.searches.check(asker, name, data)
    await page.console.audit(asker, "search.save", name=name)
    await page.searches.put(asker, name, data)


@delete("/find/saved/{name:str}", opt=needs("viewer"), status_code=204)
async def remove_search(name: FromPath[str], asker: User, page: Page) -> None:
    """Delete a saved search."""
    check_may_change(asker)
    page.searches.get(asker, name)
    await page.console.audit(asker, "search.forget", name=name)
    await page.searches.remove(asker, name)


ROUTES = [find_moments, export_moments, list_labels, list_searches, get_search, save_search, remove_search]
