"""The AsyncAPI document: what its specification asks, and what our events are."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
from collections.abc import Iterator
from typing import Any

import pytest
from nats.aio.client import Client

from services.ingest.camera.status import Announcer
from shared import bus
from shared.contract import asyncapi, catalog, events, names
from shared.contract.events import KINDS, CameraStatus
from shared.runtime.tasks import end
from tests.support import npm
from tests.support.schemas import OlderValidator, Validator
from tidegate.local.server import NatsServer

DOCUMENT = asyncapi.document()
SPECS = "6.11.1"
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
STATUS = CameraStatus(
    camera="lobby", time=dt.datetime(2026, 11, 24, tzinfo=dt.UTC), state="online", reason="", url="rtsp://x", ingest="i"
)


def at(reference: str) -> Any:
    """Resolve a reference of the document."""
    node: Any = DOCUMENT
    for key in reference.removeprefix("#/").split("/"):
        node = node[key]
    return node


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        yield from ([node["$ref"]] if "$ref" in node else [])
    for part in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from references(part)


def headers_schema(kind: str) -> Validator:
    """The schema of a kind's headers, with its references."""
    [message] = DOCUMENT["channels"][kind]["messages"].values()
    return Validator({**at(message["$ref"])["headers"], "components": DOCUMENT["components"]})


def test_every_reference_resolves() -> None:
    found = set(references(DOCUMENT))
    assert found and all(at(reference) for reference in found)


def test_the_document_names_the_server_and_the_credentials() -> None:
    [server] = DOCUMENT["servers"].values()
    assert server["protocol"] == "nats"
    assert {at(ref["$ref"])["type"] for ref in server["security"]} == {"userPassword", "asymmetricEncryption"}
    assert all(at(ref["$ref"]) is server for c in DOCUMENT["channels"].values() for ref in c["servers"])


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.kind)
def test_headers_match_their_schema(kind: type[events.Event]) -> None:
    publishers = [s.name for s in catalog.SERVICES if names.event(kind.kind, "*") in s.publishes]
    [publisher] = publishers or ["reanalyze"]
    headers = events.headers(STATUS, id="a", source=names.source(publisher), traceparent=TRACE)
    headers["ce-type"] = events.type_of(kind)
    schema = headers_schema(kind.kind)
    schema.validate(headers)
    for wrong in ({"ce-type": "tidegate.other.v1"}, {"ce-source": "/tidegate/other"}, {"ce-subject": "lobby\n"}):
        assert not schema.is_valid(headers | wrong)
    for name in ("ce-id", "ce-source", "Nats-Msg-Id"):
        assert not schema.is_valid({k: v for k, v in headers.items() if k != name})


async def test_events_of_ingest_match_the_document(server: NatsServer, admin: Client) -> None:
    ingest = await bus.connect(server.settings("ingest"), "ingest")
    announcer = Announcer(ingest, ingest.jetstream(), "this-process")
    saying = asyncio.create_task(announcer.run())
    announcer.announce(STATUS)
    await announcer.flush(30)
    reply = await admin.jetstream().get_msg(names.EVENTS, subject=events.subject(STATUS), direct=True)
    await end(saying)
    await ingest.close()
    assert (reply.headers or {})["ce-source"] == "/tidegate/ingest"
    headers_schema("cameras").validate(dict(reply.headers or {}))


@pytest.mark.foreign
def test_the_document_is_valid_asyncapi(pytestconfig: pytest.Config) -> None:
    """The schema is the one that AsyncAPI publishes."""
    package = npm.installed(pytestconfig, "@asyncapi/specs", SPECS)
    schema = package / "schemas/3.0.0-without-$id.json"
    validator = OlderValidator(json.loads(schema.read_text()))
    assert [f"{e.json_path}: {e.message}" for e in validator.iter_errors(DOCUMENT)] == []
    broken = DOCUMENT | {"servers": {"nats": {"protocol": "nats"}}}
    assert not validator.is_valid(broken), "a server needs a host"
