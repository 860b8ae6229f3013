"""The application: all routes behind the gate, every error a sentence, and OpenAPI 3.1 at /api/openapi.json."""

from __future__ import annotations

from functools import cache
from typing import Any

from litestar import Litestar, Router, get
from litestar.connection import ASGIConnection
from litestar.di import NamedDependency, Provide
from litestar.handlers import BaseRouteHandler

from services.console.accounts.gate import ASKER, Gate
from services.console.ask import routes as ask
from services.console.cameras import routes as cameras
from services.console.console import Console
from services.console.feed import routes as feed
from services.console.find import routes as find
from services.console.models import routes as models
from services.console.now import routes as now
from services.console.oidc import routes as oidc
from services.console.people import routes as people
from services.console.recordings import routes as recordings
from services.console.review import routes as review
from services.console.scaling import routes as scaling
from services.console.server import openapi
from services.console.server.files import index, page
from services.console.server.headers import App, Headers
from services.console.server.pages import Pages
from services.console.site import routes as site
from services.console.system import routes as system
from services.console.video import routes as video
from services.console.web.errors import HANDLERS
from services.console.web.needs import PUBLIC, ROLE

API = "/api/v1"
# Keys of the console's part of a request's state.
CONSOLE, GATE, STATES = "console", "gate", "pages"
# The pages, in the order in which they are documented.
PAGES: tuple[Any, ...] = (
    people,
    oidc,
    feed,
    now,
    cameras,
    video,
    recordings,
    review,
    find,
    ask,
    scaling,
    models,
    site,
    system,
)
# Enough for a picture to search for, or a trace of arrivals.
MOST_BYTES = 12 * 1024 * 1024


def build(pages: Pages) -> App:
    """Return the ASGI application: the routes of the process, with the state of this console."""
    console = pages.console
    state = {CONSOLE: console, GATE: Gate(console.settings, console.authenticator), STATES: pages}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        request_scope: Any = {**scope, "state": {**scope.get("state", {}), **state}}
        await _routes()(request_scope, receive, send)

    return Headers(app, sub_path=console.settings.sub_path, is_https=console.settings.is_https)


@cache
def _routes() -> Litestar:
    """Return all routes. All consoles share them: each request brings its own console."""
    app = Litestar(
        [api(), _describe, index, page],
        openapi_config=None,
        exception_handlers=HANDLERS,
        request_max_body_size=MOST_BYTES,
        logging_config=None,
    )
    _check_needs(app)
    return app


@cache
def document() -> dict[str, Any]:
    """Return OpenAPI 3.1 of the API, the same for all consoles and without any."""
    return openapi.document(api())


def api() -> Router:
    """Return the routes of all pages."""
    return Router(
        API,
        route_handlers=[_routes_of(page) for page in PAGES],
        guards=[_guard],
        dependencies={"console": _of_state(CONSOLE), "asker": _of_state(ASKER)},
    )


def _routes_of(page: Any) -> Router:
    """Return a page's routes, which get the state of its folder as `page`."""
    folder = page.__name__.split(".")[2]
    return Router("/", route_handlers=page.ROUTES, dependencies={"page": _of_state(STATES, folder)})


def _of_state(key: str, attribute: str = "") -> Provide:
    def provide(request: ASGIConnection[Any, Any, Any, Any]) -> Any:
        value = request.scope["state"][key]
        return getattr(value, attribute) if attribute else value

    return Provide(provide, sync_to_thread=False)


def _guard(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    connection.scope["state"][GATE].check(connection, handler)


@get("/api/openapi.json", opt=PUBLIC, include_in_schema=False, dependencies={"console": _of_state(CONSOLE)})
async def _describe(console: NamedDependency[Console]) -> dict[str, Any]:
    """The API as OpenAPI 3.1, with the public address: a proxy's clients use the proxy."""
    return {**document(), "servers": [{"url": console.settings.console_url.rstrip("/") or "/"}]}


def _check_needs(app: Litestar) -> None:
    """Raises AssertionError for a route without a role."""
    for route in app.routes:
        for handler in getattr(route, "route_handlers", [getattr(route, "route_handler", None)]):
            asks = getattr(handler, "http_methods", None) != {"OPTIONS"}  # which Litestar answers by itself
            if route.path.startswith(API) and handler is not None and asks:
                assert ROLE in handler.opt, f"{route.path} says by no needs() whom it is for"
