"""The console's API as OpenAPI 3.1: valid, complete, and enough for a client that is made of it and of nothing else."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from litestar import Litestar
from litestar.routes import HTTPRoute, WebSocketRoute
from nats.aio.client import Client
from openapi_spec_validator import validate

from services.console.review.filters import EVER
from services.console.server import app
from tests.support.console.openapi_values import operations
from tests.support.console.people import Running, add_camera, console_on
from tests.support.waiting import until
from tests.support.worlds.incidents import incident, say
from tidegate.local.server import NatsServer

ERRORS = {"400", "401", "403", "404", "409", "429", "503"}
PACKAGE = "console_client"
# The generator knows JSON, texts and bytes: pictures and video are bytes.
CONFIG = {
    "post_hooks": [],
    "content_type_overrides": dict.fromkeys(
        ("image/jpeg", "video/mp4", "application/vnd.apple.mpegurl"), "application/octet-stream"
    ),
}


async def served(console: Running) -> dict[str, Any]:
    answer = await console.nobody().get(f"{console.url}api/openapi.json")
    assert answer.status_code == 200 and answer.headers["content-type"] == "application/json"
    document: dict[str, Any] = answer.json()
    return document


@pytest.mark.slow
async def test_a_running_console_serves_valid_openapi(server: NatsServer, admin: Client) -> None:
    async with console_on(server, admin) as console:
        document = await served(console)
    assert document["openapi"].startswith("3.1.")
    validate(document)  # type: ignore[arg-type]
    assert document == {**app.document(), "servers": [{"url": "/"}]}


async def test_behind_a_proxy_it_names_the_public_address(server: NatsServer, admin: Client) -> None:
    async with console_on(server, admin, console_url="https://tide.example.org/console/") as console:
        assert (await served(console))["servers"] == [{"url": "https://tide.example.org/console"}]


def test_every_route_is_in_it() -> None:
    document = app.document()
    routes = [route for route in Litestar([app.api()]).routes if route.path.startswith(app.API)]
    routes_served = {
        (method, route.path_format)
        for route in routes
        if isinstance(route, HTTPRoute)
        for method in route.methods - {"OPTIONS"}
    }
    assert routes_served == {(method, path) for method, path, _ in operations(document)}
    sockets = [route.path for route in routes if isinstance(route, WebSocketRoute)]
    assert sockets and all(f"`{path}`" in document["info"]["description"] for path in sockets)


def test_every_operation_has_a_name_a_summary_a_tag_and_its_errors() -> None:
    document = app.document()
    found = list(operations(document))
    ids = [operation["operationId"] for _, _, operation in found]
    assert len(ids) == len(set(ids))
    rooms = {tag["name"] for tag in document["tags"]}
    for method, path, operation in found:
        assert operation["operationId"].isidentifier() and operation["operationId"].islower(), path
        assert operation["summary"] and len(operation["summary"]) <= 120, f"{method} {path} {operation['summary']!r}"
        assert set(operation["tags"]) <= rooms and len(operation["tags"]) == 1, path
        assert set(operation["responses"]) >= ERRORS, path
        for status in ERRORS & set(operation["responses"]):
            assert operation["responses"][status] == {"$ref": f"#/components/responses/{status}"}, path
    for error in document["components"]["responses"].values():
        assert error["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/ErrorAnswer"}
    assert document["components"]["schemas"]["ErrorAnswer"]["required"] == ["error"]


def test_no_two_structs_have_one_name() -> None:
    """Those that have are called by their modules, which generators of clients do not find."""
    assert [name for name in app.document()["components"]["schemas"] if not name.isidentifier()] == []


@pytest.mark.parametrize(
    ("path", "media"),
    [
        ("/cameras/{camera}/picture", "image/jpeg"),
        ("/clips/{camera}", "video/mp4"),
        ("/recordings/{camera}/playlist.m3u8", "application/vnd.apple.mpegurl"),
        ("/recordings/{camera}/video.mp4", "video/mp4"),
        ("/events", "text/event-stream"),
    ],
)
def test_responses_that_are_no_json_are_declared(path: str, media: str) -> None:
    answer = app.document()["paths"][f"{app.API}{path}"]["get"]["responses"]["200"]
    assert list(answer["content"]) == [media]
    assert answer["content"][media]["schema"]["type"] == "string"


@pytest.fixture
def build_client(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[dict[str, Any]], Callable[[str], Any]]]:
    """Makes a client of a document; what that gives imports a module of it."""

    def make(document: dict[str, Any]) -> Callable[[str], Any]:
        (tmp_path / "openapi.json").write_bytes(msgspec.json.encode(document))
        (tmp_path / "config.json").write_bytes(msgspec.json.encode(CONFIG))
        command = [sys.executable, "-m", "openapi_python_client", "generate", "--meta", "none", "--fail-on-warning"]
        command += ["--path", "openapi.json", "--config", "config.json", "--output-path", PACKAGE]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0 and "arning" not in done.stdout + done.stderr, done.stdout + done.stderr
        monkeypatch.syspath_prepend(tmp_path)
        return lambda module: importlib.import_module(f"{PACKAGE}{module}")

    yield make
    for name in [name for name in sys.modules if name.partition(".")[0] == PACKAGE]:
        del sys.modules[name]


@pytest.mark.slow
async def test_a_client_generated_from_it_works(
    server: NatsServer, admin: Client, build_client: Callable[[dict[str, Any]], Callable[[str], Any]]
) -> None:
    await add_camera(admin, "lobby")
    await say(admin, incident(camera="lobby"))
    async with console_on(server, admin) as console:
        module = build_client(await served(console))
        anna = await console.person("anna", "operator", sees_all=True)
        secret = (await anna.post("me/tokens", json={"label": "a program"})).json()["secret"]
        models, url = module(".models"), console.url.rstrip("/")
        async with module("").AuthenticatedClient(url, secret, raise_on_unexpected_status=True) as client:

            async def call(room: str, name: str, *path: str, **more: Any) -> Any:
                return await module(f".api.{room}.{name}").asyncio(*path, client=client, **more)

            me = await call("people", "get_me")
            assert (me.name, me.role, me.via) == ("anna", "operator", "token")

            new = models.NewCamera(id="gate", url="rtsp://10.0.0.9/stream1", min_score=0.4)
            added = await call("cameras", "add_camera", body=new)
            assert (added.now.id, added.settings.min_score) == ("gate", 0.4)
            listed = await call("cameras", "list_cameras", limit=500)
            assert [camera.id for camera in listed.cameras] == ["gate", "lobby"]

            await until(lambda: any(console.pages.review.index.all(EVER.fits)))
            (card,) = (await call("review", "list_incidents", severity="warning")).incidents
            details = await call("review", "get_incident", card.id)
            assert (details.card.camera, details.objects[0].label) == ("lobby", "person")
            assert details.snapshot.time.tzinfo is not None

            missing = await call("cameras", "get_camera", "nowhere")
            assert isinstance(missing, models.ErrorAnswer) and missing.error == "there is no camera 'nowhere'"
        async with module("").AuthenticatedClient(url, "tgc_wrong") as client:
            assert isinstance(await module(".api.people.get_me").asyncio(client=client), models.ErrorAnswer)
