"""The detectors that run, and the measured ones: their figures, their pictures, and the active one."""

from __future__ import annotations

from typing import Annotated

import msgspec
from litestar import Response, get, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from msgspec import Meta

from services.console.models.answers import ModelsAnswer, measured_models
from services.console.models.state import ModelsPage
from services.console.web import access
from services.console.web.needs import needs
from services.console.web.parameters import User

Page = NamedDependency[ModelsPage]


class ActiveModel(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """name: of a measured model; None: the default. instead_of: the active one that you see; empty: the default."""

    name: Annotated[str, Meta(max_length=64)] | None
    instead_of: Annotated[str, Meta(max_length=64)] = ""


@get("/models", opt=needs("viewer"))
async def list_models(asker: User, page: Page) -> ModelsAnswer:
    """The detectors that run, and those that 'tidegate model add' measured.

    An asker who sees only some cameras gets no replicas and no footage: both are of all cameras.
    """
    read = await page.library.read()
    return ModelsAnswer(
        has_folder=page.library.folder is not None,
        active=read.active[:64],
        models=measured_models(read, asker),
        more=read.more,
        running=page.monitor.replicas("cv") if asker.cameras is None else None,
        price=page.console.settings.cost_per_hour or None,
    )


@get("/models/{name:str}/picture", opt=needs("viewer"), media_type="image/jpeg")
async def get_model_picture(name: FromPath[str], asker: User, page: Page) -> Response[bytes]:
    """Frames of the footage with the boxes of a measured model, as JPEG. They may show any camera."""
    access.everything(asker, "the picture of a model")
    data = await page.library.sheet(name)
    return Response(data, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=60"})


@put("/models/active", opt=needs("admin"), status_code=204)
async def use_model(asker: User, page: Page, data: JSONBody[ActiveModel]) -> None:
    """Choose the detector that 'tidegate up' runs at its next start. Nothing changes in what runs now."""
    access.everything(asker, "the detector")

    async def record() -> None:
        await page.console.audit(asker, "model.use", name=data.name, before=data.instead_of or None)

    await page.library.use(data.name, instead_of=data.instead_of, before=record)


ROUTES = [list_models, get_model_picture, use_model]
