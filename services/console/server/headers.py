"""Security headers of every answer, and the sub-path behind a proxy. ASGI around the application."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from typing import Any

from services.console.metrics import REQUESTS

Message = MutableMapping[str, Any]
App = Callable[..., Any]

# Nothing from other origins, nothing inline, no framing. Pages create pictures and video as blobs.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; "
    "connect-src 'self'; font-src 'self'; manifest-src 'self'; frame-ancestors 'none'; base-uri 'none'; "
    "form-action 'self'"
)
_ALWAYS = {
    "content-security-policy": _POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


class Headers:
    """sub_path: of CONSOLE_URL; a proxy may keep or strip it. is_https: whether browsers use TLS."""

    def __init__(self, app: App, *, sub_path: str, is_https: bool) -> None:
        self._app = app
        self._sub_path = sub_path
        always = {**_ALWAYS, **({"strict-transport-security": "max-age=31536000"} if is_https else {})}
        self._headers = [(name.encode(), value.encode()) for name, value in always.items()]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        path = scope["path"]
        if self._sub_path and (path == self._sub_path or path.startswith(f"{self._sub_path}/")):
            scope = {**scope, "path": path.removeprefix(self._sub_path) or "/", "raw_path": b""}

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                REQUESTS.labels(str(message["status"])).inc()
                present = {name.lower() for name, _ in message["headers"]}
                more = [] if b"cache-control" in present else [(b"cache-control", b"no-store")]
                message["headers"] = [*message["headers"], *self._headers, *more]
            await send(message)

        await self._app(scope, receive, send_with_headers)
