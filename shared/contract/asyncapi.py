"""The AsyncAPI 3 document of the events: their server, subjects, headers and publishers. Pure."""

from __future__ import annotations

from typing import Any

from shared.contract import catalog, events, names
from shared.contract.events import KINDS, TRACEPARENT, Event

_SCHEMAS = "#/components/schemas/"
_CLOUD_EVENT = "CloudEvent"
_TEXT = {"type": "string"}


def document() -> dict[str, Any]:
    """Return the document as JSON. `tidegate schema --asyncapi` prints it."""
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "Tidegate events", "version": "1", "description": "Kept in the stream EVENTS."},
        "defaultContentType": "application/json",
        "servers": {"nats": _server()},
        "channels": {kind.kind: _channel(kind) for kind in KINDS},
        "operations": {
            f"send_{kind.kind}": {"action": "send", "channel": {"$ref": f"#/channels/{kind.kind}"}} for kind in KINDS
        },
        "components": {
            "securitySchemes": _SECURITY,
            "messages": {kind.__name__: _message(kind) for kind in KINDS},
            "schemas": {_CLOUD_EVENT: _cloud_event(), **_moved(events.json_schema()["$defs"])},
        },
    }


_SECURITY = {
    "userPassword": {
        "type": "userPassword",
        "description": "NATS_USER and NATS_PASSWORD. The identity viewer may subscribe to events, and to nothing else.",
    },
    "credentials": {
        "type": "asymmetricEncryption",
        "description": "NATS_CREDS: a .creds file, whose key signs what the server asks and never leaves the client.",
    },
}


def _server() -> dict[str, Any]:
    return {
        "host": "{host}:{port}",
        "protocol": "nats",
        "description": "The server of 'tidegate up', or a cluster's: with TLS where it asks for it.",
        "variables": {"host": {"default": "127.0.0.1"}, "port": {"default": "4222"}},
        "security": [{"$ref": f"#/components/securitySchemes/{scheme}"} for scheme in _SECURITY],
    }


def _channel(kind: type[Event]) -> dict[str, Any]:
    return {
        "address": names.event(kind.kind, "{camera}"),
        "servers": [{"$ref": "#/servers/nats"}],
        "parameters": {"camera": {"description": "camera id: 1 to 64 letters, digits, '-' or '_'"}},
        "messages": {kind.__name__: {"$ref": f"#/components/messages/{kind.__name__}"}},
    }


def _message(kind: type[Event]) -> dict[str, Any]:
    """Return a message: the headers of all events, with the type and the services that publish it."""
    sources = [names.source(s.name) for s in catalog.SERVICES if names.event(kind.kind, "*") in s.publishes]
    # No service publishes results from recordings.
    sources = sources or [names.source("reanalyze")]
    own = {"ce-type": {"const": events.type_of(kind)}, "ce-source": {"enum": sources}}
    return {
        "name": events.type_of(kind),
        "contentType": "application/json",
        "headers": {"allOf": [{"$ref": f"{_SCHEMAS}{_CLOUD_EVENT}"}, {"type": "object", "properties": own}]},
        "payload": {"$ref": f"{_SCHEMAS}{kind.__name__}"},
    }


def _cloud_event() -> dict[str, Any]:
    """Return the headers of every event: CloudEvents 1.0 in the binary mode of its NATS binding."""
    needed = {
        "Nats-Msg-Id": _TEXT | {"description": "an HMAC of ce-id: JetStream drops what is published twice"},
        "ce-specversion": {"const": "1.0"},
        "ce-id": _TEXT | {"description": "the same for a segment that is processed twice"},
        "ce-source": _TEXT | {"description": "/tidegate/<service>"},
        "ce-type": _TEXT | {"description": "tidegate.<kind>.v1"},
        "ce-time": _TEXT | {"format": "date-time"},
        "ce-subject": _TEXT | {"pattern": names.TOKEN, "description": "camera id"},
        "content-type": {"const": "application/json"},
    }
    trace = _TEXT | {"pattern": f"^{TRACEPARENT}$", "description": "W3C Trace Context"}
    return {"type": "object", "properties": {**needed, "traceparent": trace}, "required": list(needed)}


def _moved(node: Any) -> Any:
    """Return a JSON Schema whose references point into this document."""
    if isinstance(node, dict):
        return {k: v.replace("#/$defs/", _SCHEMAS) if k == "$ref" else _moved(v) for k, v in node.items()}
    return [_moved(v) for v in node] if isinstance(node, list) else node
