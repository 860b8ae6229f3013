"""Opens a camera once, as ingest would, in a child process: a person sees its picture before saving it."""

from __future__ import annotations

import signal

from services.console.cameras.answers import OpenedCamera
from services.console.links.child import ChildFailed, ask_child, once
from services.console.web.concurrency_limit import ConcurrencyLimit
from services.console.web.refused import Refused
from shared.contract.cameras import Camera
from shared.contract.questions import look
from shared.runtime.plain import plain
from shared.runtime.redact import redact

MOST_AT_ONCE = 2
# The process ends itself; this limit is for one that never gets CPU time.
_WITHIN_S = look.LONGEST_S + 10.0
# A JPEG of 1280x720, as base64.
_MOST_BYTES = 4 * 1024 * 1024
_SILENT = f"the camera sends no picture within {look.LONGEST_S:.0f} s: check that it is on, its address and the network"


class CameraTrial:
    """See the module. One for the console."""

    def __init__(self) -> None:
        self.limit = ConcurrencyLimit(MOST_AT_ONCE, "other cameras are being tried just now: try again in a moment", 5)

    async def open(self, camera: Camera, secret: str | None) -> OpenedCamera:
        """Open a camera. Raises Refused if too many are being opened, or if it is a file."""
        if camera.is_file:
            raise Refused(400, "a file can't be tried here: ingest reads it, on the machine that it runs on")
        with self.limit.slot():
            return await self._open(camera, secret)

    async def _open(self, camera: Camera, secret: str | None) -> OpenedCamera:
        request = look.ProbeRequest(
            url=camera.url, secret=secret, transport=camera.transport, verify_tls=camera.verify_tls
        )
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
                return OpenedCamera(cause="timeout", error=_SILENT)
            return OpenedCamera(cause="error", error=f"the camera could not be looked at: {e}")
        match look.decode(answer):
            case look.Seen(codec=codec, width=width, height=height, fps=fps, jpeg=jpeg):
                return OpenedCamera(picture=jpeg, codec=codec, width=width, height=height, fps=fps)
            case look.Unseen(cause=cause, reason=reason):
                return OpenedCamera(cause=cause, error=plain(redact(reason)))
