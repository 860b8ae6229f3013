"""Pictures, clips and live video."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from litestar import Response, WebSocket, get, websocket
from litestar.di import NamedDependency
from litestar.exceptions import WebSocketDisconnect
from litestar.params import FromPath, QueryParameter

from services.console.metrics import VIEWERS
from services.console.video import responses
from services.console.video.state import Video
from services.console.video.viewer import Viewer
from services.console.web import access
from services.console.web.needs import needs
from services.console.web.parameters import AnyRequest, User
from services.console.web.times import instant
from shared.runtime.tasks import supervise
from shared.video.decoding.work import LARGEST, SMALLEST

Page = NamedDependency[Video]

Time = Annotated[str, QueryParameter(max_length=64, description="such as 2026-11-24T13:05:00Z")]


@get("/cameras/{camera:str}/picture", opt=needs("viewer"), media_type="image/jpeg")
async def get_picture(
    camera: FromPath[str],
    asker: User,
    page: Page,
    at: Time = "",
    width: Annotated[int, QueryParameter(ge=SMALLEST, le=LARGEST, description="most pixels across")] = 640,
) -> Response[bytes]:
    """A camera's newest keyframe, or its frame at a time, as JPEG. `X-Time` is its capture time."""
    access.camera(asker, camera, page.console.cameras.values)
    found = await page.pictures.picture(camera, instant(at, "at") if at else None, width)
    return responses.picture(found, cache=responses.FOR_EVER if at else responses.NEWEST)


@get("/clips/{camera:str}", opt=needs("viewer"), media_type="video/mp4", responses=responses.PARTS)
async def get_clip(
    request: AnyRequest,
    camera: FromPath[str],
    asker: User,
    page: Page,
    since: Annotated[str, QueryParameter(name="from", max_length=64)],
    until: Annotated[str, QueryParameter(name="to", max_length=64)],
    download: Annotated[bool, QueryParameter(description="as a file to be saved")] = False,
) -> Response[Any]:
    """A camera's video of a period as MP4, with support for `Range`. It begins with the keyframe before `from`.

    `X-From` and `X-To` are the times that it shows, and `X-Whole` is whether that is the whole period.
    """
    access.camera(asker, camera, page.console.cameras.values)
    found = await page.clips.clip(camera, instant(since, "from"), instant(until, "to"))
    filename = f"{camera}-{found.since:%Y%m%dT%H%M%SZ}.mp4" if download else ""
    return responses.clip(request, found, filename=filename)


@websocket("/live", opt=needs("viewer"))
async def watch_live(socket: WebSocket[Any, Any, Any], asker: User, page: Page) -> None:
    """Live video of cameras: send `{"watch": ["lobby"]}`. docs/console.md describes the messages."""
    await socket.accept()

    async def send(message: bytes | str) -> None:
        await (socket.send_text(message) if isinstance(message, str) else socket.send_bytes(message))

    def sees(camera: str) -> bool:
        current = page.console.current(asker)
        return current is not None and current.sees(camera) and camera in page.console.cameras.values

    async def hear() -> None:
        while True:
            await viewer.hear(await socket.receive_text())

    viewer = Viewer(send, page.live, sees)
    VIEWERS.inc()
    try:
        await supervise(viewer.run(), hear())
    except (WebSocketDisconnect, asyncio.CancelledError):
        pass
    finally:
        VIEWERS.dec()
        viewer.close()


ROUTES = [get_picture, get_clip, watch_live]
