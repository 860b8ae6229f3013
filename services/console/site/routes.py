"""The site file of what runs; what another one changes; and the change. All of it is of all cameras."""

from __future__ import annotations

import asyncio
from typing import Annotated, Literal

import msgspec
from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import JSONBody
from msgspec import Meta

from services.console.site import answers, comparison, document
from services.console.site.answers import ComparedSite, SiteApply, SiteFile
from services.console.site.comparison import Comparison
from services.console.site.state import SitePage
from services.console.web import access
from services.console.web.needs import needs
from services.console.web.parameters import User
from services.console.web.refused import Refused
from shared.contract.reading.mistakes import Mistakes
from shared.runtime.plain import plain
from shared.site import export, journal, state
from shared.site.plan import Change
from shared.site.state import State

Page = NamedDependency[SitePage]

_WHAT = "the site file"
_Section = Literal["cameras", "groups", "recording"]
# Changes that an entry of the audit log names.
_MOST_NAMED = 100


class WrittenSite(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """text: YAML or JSON. prune: sections from which all goes that the text does not have."""

    text: Annotated[str, Meta(max_length=document.MOST)]
    prune: Annotated[list[_Section], Meta(max_length=3)] = []


class AppliedSite(WrittenSite, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The same, as it was compared. token: of the comparison."""

    token: Annotated[str, Meta(max_length=64)]


@get("/site", opt=needs("operator"))
async def get_site(asker: User, page: Page) -> SiteFile:
    """The site file of what runs, with variables in place of passwords, and without readers."""
    access.everything(asker, _WHAT)
    is_admin = asker.may("admin")
    js = (page.console.links.admin if is_admin else page.console.links.operator).jetstream()
    with page.limit.slot():
        text, left = await asyncio.to_thread(export.document, await state.read(js, buckets=state.IN_CONSOLE))
        lock = await journal.pending(js) if is_admin else None
    return SiteFile(text=text, notices=[plain(line) for line in left], interrupted=answers.interrupted(lock))


@post("/site/compare", opt=needs("admin"), status_code=200)
async def compare_site(asker: User, page: Page, data: JSONBody[WrittenSite]) -> ComparedSite:
    """Every mistake in a site file, with its path and its line; or what it changes. Nothing changes yet."""
    access.everything(asker, _WHAT)
    with page.limit.slot():
        try:
            wanted = await asyncio.to_thread(document.read, data.text)
            _, found = await _compared(page, wanted, data)
        except Mistakes as e:
            return await asyncio.to_thread(answers.mistaken, data.text, e)
        return answers.compared(wanted, found, await journal.pending(page.console.links.admin.jetstream()))


@post("/site/apply", opt=needs("admin"), status_code=200)
async def apply_site(asker: User, page: Page, data: JSONBody[AppliedSite]) -> SiteApply:
    """Make all changes that a comparison showed, or none. 409: the site or the file is another since.

    It goes on if the client disconnects: `GET /site/apply` has its progress and its result.
    """
    access.everything(asker, _WHAT)

    async def compare() -> tuple[State, Comparison]:
        wanted = await asyncio.to_thread(document.read, data.text)
        now, found = await _compared(page, wanted, data)
        if found.token != data.token:
            raise Refused(409, "the site, the file or the sections changed since they were compared: compare again")
        return now, found

    async def record(changes: list[Change]) -> None:
        added, changed, removed = answers.counts(changes)
        named = [plain(f"{change.kind} {change.what}") for change in changes[:_MOST_NAMED]]
        await page.console.audit(asker, "site.apply", added=added, changed=changed, removed=removed, changes=named)

    return await page.applying.apply(asker.name, compare, record)


@get("/site/apply", opt=needs("admin"))
async def get_site_apply(asker: User, page: Page) -> SiteApply:
    """The apply that this console runs, or ran last: its progress and its result."""
    access.everything(asker, _WHAT)
    return page.applying.last


async def _compared(page: SitePage, wanted: document.Wanted, data: WrittenSite) -> tuple[State, Comparison]:
    """Return the present state, and the changes. Raises Mistakes."""
    now = await state.read(page.console.links.admin.jetstream(), buckets=state.IN_CONSOLE)
    return now, await asyncio.to_thread(comparison.compare, data.text, wanted, now, data.prune)


ROUTES = [get_site, compare_site, apply_site, get_site_apply]
