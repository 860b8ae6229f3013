"""The first picture of a stream, as ingest would open it, by a child process: this one decodes nothing of a camera."""

from __future__ import annotations

import signal

from services.console.links.child import ChildFailed, ask_child, once
from shared.contract.cameras import Camera
from shared.contract.questions import look
from shared.runtime.plain import plain
from shared.runtime.redact import redact
from tidegate.onvif.values import OnvifError

# The process ends itself; this limit is for one that never gets CPU time.
_WITHIN_S = look.LONGEST_S + 10.0
# A JPEG of 1280x720, as base64.
_MOST_BYTES = 4 * 1024 * 1024


async def first_picture(camera: Camera, secret: str | None) -> look.Seen:
    """Return the camera's first picture. Raises OnvifError."""
    request = look.ProbeRequest(url=camera.url, secret=secret, transport=camera.transport, verify_tls=camera.verify_tls)
    try:
        answer = await ask_child(
            look.MODULE,
            once(look.encode(request)),
            within_s=_WITHIN_S,
            most_bytes=_MOST_BYTES,
            environment=("INGEST_CA",),
        )
    except ChildFailed as e:
        # It ends itself by this signal, in its time.
        if e.code in (None, -signal.SIGALRM):
            raise OnvifError(f"the stream sends no picture within {look.LONGEST_S:.0f} s") from e
        raise OnvifError(f"the stream could not be opened: {e}") from e
    match look.decode(answer):
        case look.Seen() as seen:
            return seen
        case look.Unseen(reason=reason):
            raise OnvifError(plain(redact(reason)))
