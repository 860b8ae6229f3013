"""How services are scaled and why, and what-ifs.

Arrivals, and what follows from them, cover all cameras. A person who sees only some cameras gets none of it, but may
simulate their own CSV.
"""

from __future__ import annotations

import datetime as dt

import msgspec
from litestar import delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from services.console.scaling.now import BOUNDS, ScaledService
from services.console.scaling.state import Scaling
from services.console.scaling.usage import read_usage
from services.console.scaling.whatif import Job
from services.console.web import access
from services.console.web.asker import Asker
from services.console.web.needs import needs
from services.console.web.parameters import User
from services.console.web.refused import Refused
from shared.contract import catalog
from shared.contract.questions.whatif import Failed, WhatIfAnswer, WhatIfRequest
from shared.contract.segment import rfc3339

Page = NamedDependency[Scaling]


class ScalingNow(msgspec.Struct, frozen=True, kw_only=True):
    """bounds: where to find them. price: of a replica's hour, by COST_PER_HOUR; None if not set."""

    services: list[ScaledService]
    bounds: str
    price: float | None
    time: str


class WhatIfView(msgspec.Struct, frozen=True, kw_only=True):
    """progress: from 0 to 1. error: of a failed one; field: the field of the request that it is about."""

    id: str
    service: str
    state: str
    began: str
    progress: float
    doing: str
    error: str = ""
    field: str = ""
    answer: WhatIfAnswer | None = None


@get("/scaling", opt=needs("viewer"))
async def get_scaling(asker: User, page: Page) -> ScalingNow:
    """How each service is scaled now, with every term."""
    access.everything(asker, "what is scaled, and by what,")
    return ScalingNow(
        services=await page.now.services.get(),
        bounds=BOUNDS,
        price=page.console.settings.cost_per_hour or None,
        time=rfc3339(dt.datetime.now(dt.UTC)),
    )


@post("/whatif", opt=needs("operator"), status_code=202)
async def begin_whatif(asker: User, page: Page, data: JSONBody[WhatIfRequest]) -> WhatIfView:
    """Simulate other ways to scale: one at a time for each person. `in_force` defaults to the scaler's settings."""
    if data.service not in {s.name for s in catalog.services() if s.scaled_object}:
        raise Refused(400, f"service: {data.service[:64]!r} is none that can be simulated")
    usage = None
    if data.arrivals == "usage":
        access.everything(asker, "what arrives")
        usage = read_usage(page.console.links.viewer, dt.datetime.now(dt.UTC) - dt.timedelta(days=data.days))
    if data.in_force is None and asker.cameras is None:
        data = msgspec.structs.replace(data, in_force=await page.now.in_force(data.service))
    return _view(page.whatif.start(asker.name, data, usage))


@get("/whatif", opt=needs("operator"))
async def list_whatifs(asker: User, page: Page) -> list[WhatIfView]:
    """Your what-ifs that run, or ended in the last minutes; the newest first, without their answers."""
    jobs = [job for job in page.whatif.jobs_of(asker.name) if _may_see(asker, job)]
    return [msgspec.structs.replace(_view(job), answer=None) for job in jobs]


@get("/whatif/{id:str}", opt=needs("operator"))
async def get_whatif(id: FromPath[str], asker: User, page: Page) -> WhatIfView:
    """A what-if's progress and its result."""
    job = page.whatif.find(asker.name, id)
    if job is None or not _may_see(asker, job):
        raise _none()
    return _view(job)


@delete("/whatif/{id:str}", opt=needs("operator"), status_code=204)
async def end_whatif(id: FromPath[str], asker: User, page: Page) -> None:
    """End a what-if, or forget its result."""
    if not await page.whatif.cancel(asker.name, id):
        raise _none()


def _view(job: Job) -> WhatIfView:
    result = job.result
    failed = result if isinstance(result, Failed) else None
    return WhatIfView(
        id=job.id,
        service=job.service,
        state="runs" if result is None else "failed" if failed else "done",
        began=rfc3339(job.began),
        progress=1.0 if result else job.progress.progress,
        doing=job.progress.doing,
        error=failed.error if failed else "",
        field=failed.field if failed else "",
        answer=result if isinstance(result, WhatIfAnswer) else None,
    )


def _none() -> Refused:
    return Refused(404, "there is no such what-if of yours: they are kept for a quarter of an hour")


def _may_see(asker: Asker, job: Job) -> bool:
    return asker.cameras is None or not job.of_cameras


ROUTES = [get_scaling, begin_whatif, list_whatifs, get_whatif, end_whatif]
