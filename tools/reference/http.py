"""Every route of the console's HTTP API: from its OpenAPI document."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

from litestar import Litestar
from litestar.routes import WebSocketRoute

from services.console.server import app
from services.console.server.openapi import tag_of
from services.console.web.needs import ROLE
from tools.reference.markdown import code, page, prose, table

INTRO = """All that the [console's](../console.md) pages show and do, for programs too. A running console serves the
same as OpenAPI 3.1, with every parameter, body and answer, at `/api/openapi.json`. Generators make clients of that: for
Python `openapi-python-client generate --url http://127.0.0.1:8484/api/openapi.json`, whose functions have the names
below."""

ROLES = """The role is the least one that may use a route: an operator may all that a viewer may, and an admin all that
an operator may. What depends on a camera is for those who see that camera, and some of it for those who see all of
them."""

ERRORS = 'Errors are `{"error": "a sentence"}`:'

ANYBODY = "anybody"
TITLES = {"oidc": "OpenID Connect", "feed": "Events"}


def text() -> str:
    """Return the page."""
    document = app.document()
    answers = document["components"]["responses"].items()
    errors = table(("status", "when"), [(code(status), error["description"]) for status, error in answers])
    blocks = [INTRO, ROLES, ERRORS, errors]
    for tag in document["tags"]:
        blocks += [f"## {TITLES.get(tag['name'], tag['name'].capitalize())}", prose(tag["description"])]
        rows = [*_operations(document, tag["name"]), *_sockets(tag["name"])]
        blocks.append(table(("route", "role", "name", "what it does"), rows))
    return page("HTTP API", *blocks)


def _operations(document: dict[str, Any], tag: str) -> Iterator[tuple[str, str, str, str]]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if tag in operation["tags"]:
                schemes = [roles for scheme in operation["security"] for roles in scheme.values()]
                (role,) = {role for roles in schemes for role in roles} or {ANYBODY}
                description = prose(operation["description"]).replace("\n\n", " ")
                yield code(f"{method.upper()} {path}"), role, code(operation["operationId"]), description


def _sockets(tag: str) -> Iterator[tuple[str, str, str, str]]:
    """Yield the rows of WebSockets, which OpenAPI does not describe."""
    for route in Litestar([app.api()], openapi_config=None).routes:
        if isinstance(route, WebSocketRoute) and tag_of(route.route_handler) == tag:
            handler = route.route_handler
            description = _line(inspect.getdoc(handler.fn))
            yield code(f"WebSocket {route.path}"), handler.opt[ROLE] or ANYBODY, "", description


def _line(docstring: str | None) -> str:
    return prose(docstring).replace("\n\n", " ")
