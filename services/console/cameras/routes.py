"""Cameras: their state and their settings."""

from __future__ import annotations

from typing import Annotated

from litestar import delete, get, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter

from services.console.cameras import answers, changes, rule_routes
from services.console.cameras.answers import CameraList, OneCamera, OpenedCamera
from services.console.cameras.fields import ChangedCamera, NewCamera, TriedCamera
from services.console.cameras.state import Cameras
from services.console.web import access
from services.console.web.asker import Asker
from services.console.web.disconnects import while_there
from services.console.web.needs import needs
from services.console.web.parameters import AnyRequest, User
from shared.client import registry
from shared.contract.cameras import Camera

Page = NamedDependency[Cameras]

MOST = 500
Text = Annotated[str, QueryParameter(max_length=200, description="a part of the id, or of a label that is seen now")]
After = Annotated[str, QueryParameter(max_length=64, description="the id after which to go on")]
Limit = Annotated[int, QueryParameter(ge=1, le=MOST)]
States = Annotated[str, QueryParameter(max_length=200, description="states with commas; empty: all")]


@get("/cameras", opt=needs("viewer"))
async def list_cameras(
    asker: User, page: Page, text: Text = "", states: States = "", after: After = "", limit: Limit = MOST
) -> CameraList:
    """The cameras that you may see, in the order of their ids, with their state."""
    wanted = frozenset(filter(None, states.split(",")))
    all = [page.monitor.now(id) for id in access.visible(asker, page.console.camera_ids)]
    found = [
        c
        for c in all
        if (not wanted or c.state in wanted)
        and (not text or text.lower() in c.id.lower() or any(text.lower() in label.lower() for label in c.seen))
    ]
    part = [c for c in found if c.id > after][: limit + 1]
    return CameraList(cameras=part[:limit], total=len(found), next=part[limit - 1].id if len(part) > limit else None)


@get("/cameras/{camera:str}", opt=needs("viewer"))
async def get_camera(camera: FromPath[str], asker: User, page: Page) -> OneCamera:
    """A camera's settings and state. Credentials are never shown; operators see whether it has any."""
    return await _one(page, asker, camera)


@post("/cameras", opt=needs("operator"))
async def add_camera(asker: User, page: Page, data: JSONBody[NewCamera]) -> OneCamera:
    """Add a camera. Its credentials are stored separately, only for ingest, and are sent to no other address."""
    return await _one(page, asker, await changes.add(page, asker, data))


@patch("/cameras/{camera:str}", opt=needs("operator"))
async def change_camera(camera: FromPath[str], asker: User, page: Page, data: JSONBody[ChangedCamera]) -> OneCamera:
    """Change only the given fields. null: the service's own setting applies again."""
    return await _one(page, asker, camera, await changes.change(page, asker, camera, data))


@delete("/cameras/{camera:str}", opt=needs("operator"))
async def remove_camera(camera: FromPath[str], asker: User, page: Page) -> None:
    """Forget a camera and its credentials. Its events stay."""
    await changes.remove(page, asker, camera)


# No path below /cameras: it would hide a camera of that id.
@post("/camera-tests", opt=needs("operator"), status_code=200)
async def try_camera(request: AnyRequest, asker: User, page: Page, data: JSONBody[TriedCamera]) -> OpenedCamera:
    """Open a camera once, from the console's machine, and return its first picture or why there is none."""
    return await while_there(request, changes.open_once(page, asker, data))


async def _one(page: Cameras, asker: Asker, id: str, notices: list[str] | None = None) -> OneCamera:
    access.camera(asker, id, page.console.cameras.values)
    js, is_operator = page.console.links.operator.jetstream(), asker.may("operator")
    entry = page.monitor.settings(id)
    if is_operator and isinstance(entry, Camera):
        entry = await registry.read(js, id)
    return OneCamera(
        now=page.monitor.now(id),
        settings=answers.settings(entry) if isinstance(entry, Camera) else None,
        has_credentials=await registry.credentials(js, id) is not None if is_operator else None,
        has_rules=page.rules.get(id) is not None,
        notices=notices or [],
    )


ROUTES = [list_cameras, get_camera, add_camera, change_camera, remove_camera, try_camera, *rule_routes.ROUTES]
