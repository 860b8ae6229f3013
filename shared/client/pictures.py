"""Pictures of alerts, out of PICTURES: by direct get, without a consumer. A Refusal says why there is none."""

from __future__ import annotations

import nats.errors
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.errors import APIError, NotFoundError

from shared.bus import direct
from shared.contract import names, pictures
from shared.contract.pictures import AlertPicture
from shared.runtime.errors import BadMessage, BusError, Refusal


async def read(client: Client, camera: str, incident: str) -> AlertPicture:
    """Return the picture of an incident's alert. camera: `*` for any.

    Raises Refusal 404 with the reason if there is none; nats.errors.Error or TimeoutError if the server does not
    answer.
    """
    subject = names.picture(camera, incident)
    try:
        stored = await direct.get(client, names.PICTURES, subject=subject, seq=1)
        found = pictures.read(stored.headers, stored.data)
    except NotFoundError as e:
        raise Refusal(
            404,
            f"no picture of incident {incident!r} is stored: it had no alert, its alert is older than "
            "PICTURES_MAX_AGE_S, or the service pictures did not run",
        ) from e
    except nats.errors.NoRespondersError as e:
        raise Refusal(404, "there is no stream PICTURES: run 'tidegate setup', and then the service pictures") from e
    except BadMessage as e:
        raise Refusal(404, f"the picture of incident {incident!r} can't be read: {e}") from e
    if found.absent:
        raise Refusal(404, f"no picture of incident {incident!r} is stored: {found.absent}")
    return found


async def erase(js: JetStreamContext, camera: str) -> int:
    """Delete all pictures of a camera, and return their number. Raises BusError."""
    subject = f"{names.PICTURE}.alerts.{names.check_camera(camera)}.*"
    try:
        found = await js.stream_info(names.PICTURES, subjects_filter=subject)
        await js.purge_stream(names.PICTURES, subject=subject)
    except (APIError, TimeoutError, nats.errors.Error) as e:
        raise BusError(f"the pictures of camera {camera} can't be erased: {e!r}") from e
    return len(found.state.subjects or {})
