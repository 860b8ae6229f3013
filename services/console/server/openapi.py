"""The API as OpenAPI 3.1: from its routes, their docstrings, and the structs of bodies.

document(router) is the same for every console: only the served address differs.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator, Sequence
from http import HTTPStatus
from importlib.metadata import version
from typing import Any, NamedTuple

import msgspec
from litestar import Litestar, Response, Router
from litestar.handlers import BaseRouteHandler, HTTPRouteHandler
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.spec import Components, Reference, SecurityScheme
from litestar.params import BodyKwarg
from litestar.routes import HTTPRoute
from litestar.typing import FieldDefinition

from services.console.web.errors import ERRORS, ErrorAnswer
from services.console.web.needs import ROLE

_JSON = "application/json"
_DESCRIPTION = """All that the console's pages show and do.

Errors are `{"error": "a sentence"}`. Times are RFC 3339 with their zone. A list that goes on says by what: `next`. A
camera that you may not see is answered as one that does not exist. The scopes of an operation's security are the least
role that may use it: `viewer`, `operator` or `admin`, each of which may what those before it may.

Not here, as it is no request: the WebSocket `/api/v1/live`, which sends video as it comes."""
_SCHEMES: dict[str, SecurityScheme | Reference] = {
    "token": SecurityScheme(type="http", scheme="bearer", description="A token from the page Me, `tgc_…`."),
    "session": SecurityScheme(
        type="apiKey",
        name="tidegate_session",
        security_scheme_in="cookie",
        description="Of whoever is signed in. What changes something sends `csrf` of `GET /api/v1/me` as X-CSRF-Token.",
    ),
}


class Served(NamedTuple):
    """One method of one path. operation: Litestar's description, which is improved in place."""

    handler: HTTPRouteHandler
    path: str
    method: str
    operation: dict[str, Any]


def document(router: Router) -> dict[str, Any]:
    """Return OpenAPI 3.1 of a router's routes, in their order."""
    app = Litestar([router], openapi_config=_config())
    found: dict[str, Any] = app.openapi_schema.to_schema()
    served = list(_served(app, found["paths"]))
    types = list(dict.fromkeys([ErrorAnswer, *(type for each in served for type in _types(each.handler))]))
    schemas, named = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    by_type = dict(zip(types, schemas, strict=True))
    for each in served:
        each.operation.pop("deprecated", None)
        each.operation.update(_documentation(each.handler), responses=_responses(each.handler, by_type))
        if (body := _body(each.handler)) is not None:
            each.operation["requestBody"] = {"required": True, "content": {_JSON: {"schema": by_type[body]}}}
        for parameter in each.operation.get("parameters", ()):
            _plain(parameter)
    errors = {str(status): _error(status, by_type[ErrorAnswer]) for status in ERRORS}
    found["components"] = {**found["components"], "schemas": named, "responses": errors}
    found["tags"] = [_tag(name) for name in dict.fromkeys(each.operation["tags"][0] for each in served)]
    for schema in named.values():
        _without_tuples(schema)
    # Converted to JSON types: defaults may be tuples.
    return msgspec.json.decode(msgspec.json.encode(found), type=dict[str, Any])


def _config() -> OpenAPIConfig:
    return OpenAPIConfig(
        title="Tidegate console",
        version=version("tidegate"),
        description=_DESCRIPTION,
        components=Components(security_schemes=_SCHEMES),
        operation_id_creator=lambda handler, _method, _path: str(handler.handler_name),
    )


def _served(app: Litestar, paths: dict[str, Any]) -> Iterator[Served]:
    for route in app.routes:
        for handler in route.route_handlers if isinstance(route, HTTPRoute) else ():
            if handler.resolve_include_in_schema() and ROLE in handler.opt:
                for method in handler.http_methods:
                    operation = paths[route.path_format][method.lower()]
                    yield Served(handler, route.path_format, method, operation)


def _types(handler: HTTPRouteHandler) -> Iterator[Any]:
    """Yield the types that are read and written as JSON."""
    if (body := _body(handler)) is not None:
        yield body
    for media, type in _answers(handler).values():
        if media == _JSON and type is not None:
            yield type


def _body(handler: HTTPRouteHandler) -> Any:
    field = handler.parsed_fn_signature.parameters.get("data")
    return field.annotation if field and isinstance(field.kwarg_definition, BodyKwarg) else None


def _answers(handler: HTTPRouteHandler) -> dict[int, tuple[str, Any]]:
    """Return (media type, type) of each of its own answers, by status; a type of None: no body."""
    found = {handler.status_code: (_media(handler.media_type), _answer_type(handler.parsed_fn_signature.return_type))}
    for status, spec in (handler.responses or {}).items():
        found[status] = (_media(spec.media_type), spec.data_container)
    return found


def _answer_type(returned: FieldDefinition) -> Any:
    if returned.is_subclass_of(Response):
        returned = returned.inner_types[0] if returned.inner_types else FieldDefinition.from_annotation(Any)
    return None if returned.is_none_type else returned.annotation


def _media(media_type: Any) -> str:
    return str(getattr(media_type, "value", media_type) or _JSON)


def _responses(handler: HTTPRouteHandler, by_type: dict[Any, Any]) -> dict[str, Any]:
    """Return its answers, and the errors that any route may have."""
    found: dict[str, Any] = {}
    for status, (media, type) in sorted(_answers(handler).items()):
        spec = (handler.responses or {}).get(status)
        found[str(status)] = {"description": spec.description if spec else HTTPStatus(status).phrase}
        if type is not None:
            schema = by_type[type] if media == _JSON else _raw(media)
            found[str(status)]["content"] = {media: {"schema": schema}}
    return found | {str(s): {"$ref": f"#/components/responses/{s}"} for s in ERRORS if str(s) not in found}


def _raw(media: str) -> dict[str, str]:
    return {"type": "string"} if media.startswith("text/") else {"type": "string", "format": "binary"}


def _error(status: int, schema: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"description": ERRORS[status], "content": {_JSON: {"schema": schema}}}
    if status == 429:
        after = {"description": "seconds until it may be tried again", "schema": {"type": "string"}}
        found["headers"] = {"Retry-After": after}
    return found


def _documentation(handler: HTTPRouteHandler) -> dict[str, Any]:
    """Return its documentation, and its least role."""
    text = inspect.getdoc(handler.fn) or ""
    words = " ".join(text.split("\n\n")[0].split())
    first, _, _ = words.partition(". ")
    first, _, _ = first.partition(": ")
    role = handler.opt[ROLE]
    security: Sequence[dict[str, list[str]]] = [] if role is None else [{name: [role]} for name in _SCHEMES]
    return {"summary": first.removesuffix("."), "description": text, "tags": [tag_of(handler)], "security": security}


def tag_of(handler: BaseRouteHandler) -> str:
    """Return the handler's folder."""
    return str(handler.fn.__module__).split(".")[2]


def _tag(page: str) -> dict[str, str]:
    """Return a page's tag, described by the first line of its package."""
    doc = inspect.getdoc(importlib.import_module(f"services.console.{page}")) or ""
    return {"name": page, "description": doc.split("\n\n")[0]}


def _plain(parameter: dict[str, Any]) -> None:
    """Remove OpenAPI's defaults and repeated descriptions."""
    for key in ("deprecated", "allowEmptyValue", "allowReserved"):
        if parameter.get(key) is False:
            del parameter[key]
    if "description" in parameter:
        parameter["schema"].pop("description", None)


def _without_tuples(schema: Any) -> None:
    """Describe tuples as lists of their length: client generators reject `items: false`."""
    if isinstance(schema, dict) and schema.get("items") is False:
        kinds = schema.pop("prefixItems")
        schema["items"] = kinds[0] if all(kind == kinds[0] for kind in kinds) else {}
    for part in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ():
        _without_tuples(part)
