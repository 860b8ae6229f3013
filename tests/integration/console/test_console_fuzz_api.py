"""Every answer to a viewer or an admin, to valid and invalid requests of any route, matches the OpenAPI document."""

from __future__ import annotations

import asyncio
import re
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from nats.aio.client import Client

from services.console.review.filters import EVER
from services.console.server import app
from tests.support.console.openapi_values import ANY, Values, operations
from tests.support.console.people import Running, add_camera, console_on
from tests.support.schemas import Validator
from tests.support.waiting import until
from tests.support.worlds.incidents import incident, say
from tidegate.local.server import NatsServer

# Requests of each route; the first is the simplest.
EACH = 4
NAMES = {
    "camera": ["lobby", "gate", "nowhere"],
    "name": ["guest", "yard", "nobody"],
    "service": ["cv", "ingest", "nothing"],
    "kinds": ["tracks,incidents", "crowds"],
    "url": ["rtsp://127.0.0.1:1/x"],
    "text": ["", "rules: []", "rules: [", "zones: {door: {polygon: [[0, 0], [1, 0], [1, 1]]}}"],
    "severity": ["critical,info"],
    "verdict": ["rejected"],
    "state": ["ended", "online"],
    "action": ["camera.add", "person.*", "*"],
}
SIGN_OUT = "sign_out"
# Bodies that are no JSON, or that expand beyond their size.
RAW = st.binary(max_size=64) | st.sampled_from([b"", b"{", b"[" * 100_000, b'{"a":' * 100_000, b"\xff\xfe", b"NaN"])

Answer = tuple[str, httpx.Response]


class Request:
    """One request. path: of the document, `at`: with its parameters filled in."""

    def __init__(self, method: str, path: str, operation: dict[str, Any]) -> None:
        self.method, self.path, self.operation = method, path, operation
        self.at, self.query, self.body = path, [], None  # type: ignore[var-annotated]
        self.headers: dict[str, str] = {}

    def __repr__(self) -> str:
        return f"{self.method} {self.at} {self.query} {str(self.body)[:500]}"


@st.composite
def requests(draw: st.DrawFn, values: Values, method: str, path: str, operation: dict[str, Any]) -> Request:
    request = Request(method, path, operation)
    for parameter in operation.get("parameters", ()):
        text = draw(values.parameter(parameter))
        if parameter["in"] == "path":
            # Two dots, as they are, would be another path.
            part = quote(text, safe="").replace("..", "%2E%2E") or "x"
            request.at = request.at.replace(f"{{{parameter['name']}}}", "x" if part == "." else part)
        elif parameter["required"] or draw(st.integers(0, 2)) == 0:
            request.query.append((parameter["name"], text))
    if "requestBody" in operation:
        (schema,) = (content["schema"] for content in operation["requestBody"]["content"].values())
        near = values.near(schema)
        request.body = draw(near | near | near | RAW)
    elif draw(st.booleans()):
        request.body = draw(ANY)
    if draw(st.integers(0, 9)) == 0:
        request.headers = {
            "Content-Type": draw(st.sampled_from(["text/plain", "multipart/form-data", "application/xml"]))
        }
    return request


async def answered(client: httpx.AsyncClient, query: Request) -> httpx.Response:
    """The answer; of an endless one, only its head."""
    content = {"content": query.body} if isinstance(query.body, bytes) else {"json": query.body}
    headers = {"Content-Type": "application/json", **query.headers}
    request = client.build_request(query.method, query.at, params=query.query, headers=headers, **content)  # type: ignore[arg-type]
    answer = await client.send(request, stream=True)
    try:
        if not answer.headers.get("content-type", "").startswith("text/event-stream"):
            await answer.aread()
    finally:
        await answer.aclose()
    return answer


def check(document: dict[str, Any], request: Request, answer: httpx.Response) -> None:
    """Assert that the document has this answer, and that it is no failure of the console itself."""
    status, media = answer.status_code, answer.headers.get("content-type", "").partition(";")[0]
    assert status < 500 or status == 503, f"{request}: {status} {answer.text}"
    if request.operation["security"] and not request.operation["operationId"].startswith(SIGN_OUT):
        assert status != 401, f"{request}: whoever asks is signed in no more"
    if status == 405 and "%2F" in request.at:  # with a slash in it the path is another route's
        return
    assert str(status) in request.operation["responses"], f"{request}: nobody said {status}: {answer.text[:500]}"
    reports = request.operation["responses"][str(status)]
    if "$ref" in reports:
        reports = document["components"]["responses"][reports["$ref"].rpartition("/")[2]]
    content = reports.get("content", {})
    if status >= 400 and status != 422:
        error = answer.json()["error"]
        assert isinstance(error, str) and error, f"{request}: {answer.text}"
        assert "Traceback" not in error and not re.search(r'File "|\.py\b|0x[0-9a-f]{6}', error), f"{request}: {error}"
    assert media in content if content else answer.content == b"", f"{request}: {status} is {media}"
    if media == "application/json":
        schema = {**content[media]["schema"], "components": document["components"]}
        Validator(schema).validate(answer.json())


async def world(console: Running, admin: Client) -> dict[str, httpx.AsyncClient]:
    """An object of each kind, and the clients that request them."""
    await say(admin, incident(camera="lobby"))
    await until(lambda: any(console.pages.review.index.all(EVER.fits)))
    people = {
        "viewer": await console.person("vera", "viewer", cameras=["lobby"]),
        "admin": await console.person("root", "admin", sees_all=True),
    }
    await console.person("guest", "viewer")
    (await people["admin"].put("groups/yard", json={"cameras": ["lobby"]})).raise_for_status()
    return people


@pytest.mark.slow
async def test_every_answer_matches_the_openapi_document(server: NatsServer, admin: Client) -> None:
    document = app.document()
    await add_camera(admin, "lobby")
    await add_camera(admin, "gate")
    async with console_on(server, admin) as console:
        people, loop = await world(console, admin), asyncio.get_running_loop()
        existing = [card["id"] for card in (await people["admin"].get("incidents")).json()["incidents"]]
        values = Values(document, {**NAMES, "id": [*existing, "gate2", "nothing"]})

        def fuzz(method: str, path: str, operation: dict[str, Any]) -> None:
            @settings(
                max_examples=EACH, suppress_health_check=list(HealthCheck), database=None, phases=[Phase.generate]
            )
            @given(st.sampled_from(["admin", "viewer", "admin"]), requests(values, method, path, operation))
            def send(role: str, request: Request) -> None:
                request.at = f"{console.url.rstrip('/')}{request.at}"
                answer = asyncio.run_coroutine_threadsafe(answered(people[role], request), loop).result(60)
                check(document, request, answer)

            send()

        for each in sorted(operations(document), key=_late):
            await asyncio.to_thread(fuzz, *each)


def _late(each: tuple[str, str, dict[str, Any]]) -> tuple[bool, bool]:
    """Order deletions late and signing out last: after that, each answer is 401."""
    method, _, operation = each
    return operation["operationId"].startswith(SIGN_OUT), method == "DELETE"
