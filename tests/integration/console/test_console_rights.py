"""The rights of each role, by HTTP requests to every route: see `tests/support/console/rights.py`."""

from __future__ import annotations

import asyncio
import json
import re
import time
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nats.aio.client import Client
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from services.console.accounts.gate import COOKIE
from services.console.accounts.limits import OF_AN_ADDRESS
from services.console.server.app import PAGES
from services.console.web.asker import ROLES
from tests.support.console.everybody import HIDDEN, NONE, World, world_on
from tests.support.console.people import console_on
from tests.support.console.rights import ROWS, Row
from tests.support.examples import examples
from tidegate.local.server import NatsServer


def routes() -> dict[tuple[str, str], Any]:
    """Every route of the application, by its method and its path; of a WebSocket the method is WS."""
    found = {}
    for handler in (handler for page in PAGES for handler in page.ROUTES):
        for path in handler.paths:
            for method in getattr(handler, "http_methods", ["WS"]):
                found[str(method), re.sub(r":\w+}", "}", path)] = handler
    return found


def test_every_route_has_a_row_with_its_role() -> None:
    there = {key: handler.opt["role"] for key, handler in routes().items()}
    assert {key: row.role for key, row in ROWS.items()} == there


@pytest.mark.slow
async def test_each_role_has_the_rights_of_the_table(server: NatsServer, admin: Client) -> None:
    wrong: list[str] = []
    async with world_on(server, admin) as world:
        for (method, path), row in ROWS.items():
            if method == "WS":
                continue
            for who, client, expected in _askers(world, row):
                answer = await world.ask(client, method, row)
                if answer.status_code not in expected:
                    reply = "" if "event-stream" in answer.headers.get("content-type", "") else answer.text[:200]
                    wrong.append(f"{method} {path} as {who}: {answer.status_code}, not {expected}: {reply}")
    assert not wrong, "\n".join(wrong)


def _askers(world: World, row: Row) -> list[tuple[str, httpx.AsyncClient, tuple[int, ...]]]:
    """(person, their client, permitted statuses): one of every kind."""
    right = row.status if isinstance(row.status, tuple) else (row.status,)
    found = [("nobody", world.nobody, right if row.role is None else (401,))]
    for role in ROLES:
        may = row.role is None or ROLES.index(role) >= ROLES.index(row.role)
        found.append((f"{role} of all", world.all[role], right if may else (403,)))
        found.append((f"{role} of some", world.some[role], right if may and not row.everything else (403,)))
        found.append((f"program, {role}", world.programs[role], right if may and not row.by_hand else (403,)))
    return found


@pytest.mark.slow
async def test_a_hidden_camera_is_indistinguishable_from_a_missing_one(server: NatsServer, admin: Client) -> None:
    """The answers to each request by each role are equal byte for byte, except for the name in the request."""
    wrong: list[str] = []
    tried = 0
    async with world_on(server, admin) as world:
        for (method, path), row in ROWS.items():
            is_of_camera = any(f"{{{name}}}" in repr(row[2:5]) for name in ("camera", "letter", "incident"))
            if method == "WS" or row.role is None or not is_of_camera:
                continue
            for role in ROLES[ROLES.index(row.role) :]:
                hidden, none = [await _outcome(world, method, row, role, camera) for camera in (HIDDEN, NONE)]
                tried += 1
                if hidden != none:
                    wrong.append(f"{method} {path} as {role}:\n  {hidden}\n  {none}")
                if not row.everything and hidden[0] < 400:
                    wrong.append(f"{method} {path} as {role} answers {hidden[0]} of a camera that they may not see")
    assert not wrong, "\n".join(wrong)
    assert tried > 30


async def _outcome(world: World, method: str, row: Row, role: str, camera: str) -> tuple[int, Any, str]:
    """(status, headers, body) without the names of the camera and of its objects."""
    values = await world.names(row, camera)
    answer = await world.ask(world.some[role], method, row, camera)
    headers = {name: value for name, value in answer.headers.items() if name != "date"}
    body = "" if "event-stream" in headers.get("content-type", "") else answer.text
    for word in (values["camera"], values.get("incident", camera)):
        body = body.replace(word, "…")
    return answer.status_code, headers, re.sub(r"letter \d+", "letter …", body)


async def test_live_video_needs_a_session(server: NatsServer, admin: Client) -> None:
    """The server refuses the handshake itself, also one that another site's page begins."""
    async with world_on(server, admin) as world:
        url = f"{world.console.url.replace('http', 'ws', 1)}api/v1/live"
        cookie = f"{COOKIE}={world.some['viewer'].cookies[COOKIE]}"
        evil = {"Cookie": cookie, "Origin": "https://evil.example"}
        for headers in ({}, {"Cookie": f"{COOKIE}=guessed"}, {"Authorization": "Bearer tgc_guessed"}, evil):
            with pytest.raises(InvalidStatus):
                async with connect(url, additional_headers=headers):
                    pass
        async with connect(url, additional_headers={"Cookie": cookie}) as socket:
            answers = []
            for camera in (HIDDEN, NONE):
                await socket.send(json.dumps({"watch": [camera]}))
                answers.append(str(await asyncio.wait_for(socket.recv(), 60)).replace(camera, "…"))
            assert answers[0] == answers[1]


async def test_lists_reveal_no_hidden_camera(server: NatsServer, admin: Client) -> None:
    """Each route without a camera's name, for people of each role who see one of two cameras."""
    async with world_on(server, admin) as world:
        await world.names(ROWS["GET", "/letters/{seq}"], HIDDEN)
        await world.all["admin"].patch(f"cameras/{HIDDEN}", json={"min_score": 0.5})
        for (method, path), row in ROWS.items():
            if method != "GET" or row.role is None or "{" in row.at or path == "/events":
                continue
            for role in ROLES[ROLES.index(row.role) :]:
                answer = await world.some[role].get(row.at)
                assert HIDDEN not in answer.text, (path, role, answer.text[:1000])


# ---- hostile input

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=50),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=20), inner, max_size=4),
    max_leaves=8,
)
TEXTS = st.text(max_size=80) | st.sampled_from(
    [
        "..",
        "%2e%2e",
        "a/../b",
        "*",
        ">",
        "$JS.API.>",
        "\0",
        "é" * 70,
        "9" * 40,
        "-1",
        "0",
        "1e999",
        "NaN",
        "💣",
        "' OR 1",
    ]
)


def _bodies(row: Row) -> st.SearchStrategy[Any]:
    """Anything, and almost valid values."""
    if not isinstance(row.body, dict):
        return st.none() | VALUES
    changed = st.builds(lambda key, value: {**row.body, key: value}, st.sampled_from(sorted(row.body)), VALUES)
    more = st.builds(lambda value: {**row.body, **value}, st.dictionaries(st.text(max_size=12), VALUES, max_size=2))
    return VALUES | changed | more


@pytest.mark.slow
async def test_no_input_makes_the_console_fail(server: NatsServer, admin: Client) -> None:
    """Every input has an answer, and none is a failure of the console itself."""
    async with world_on(server, admin) as world:
        client = world.all["admin"]
        paths = (await client.get(f"{world.console.url}api/openapi.json")).json()["paths"]
        # After signing out each answer is 401.
        keys = sorted(key for key, row in ROWS.items() if not row.signs_out and key[0] != "WS")
        loop = asyncio.get_running_loop()

        async def send(method: str, path: str, query: dict[str, str], body: Any) -> None:
            request = client.build_request(method, path, params=query, json=body)
            answer = await client.send(request, stream=True)
            if "event-stream" not in answer.headers.get("content-type", ""):
                await answer.aread()
                assert answer.status_code not in (500, 501), f"{method} {path} {query} {body}: {answer.text}"
                assert answer.status_code < 400 or answer.json()["error"], answer.text
            await answer.aclose()

        @settings(max_examples=examples(8), suppress_health_check=list(HealthCheck), database=None)
        @given(st.data())
        def fuzz(method: str, path: str, data: st.DataObject) -> None:
            requests = paths.get(f"/api/v1{path}", {}).get(method.lower(), {}).get("parameters", [])
            names = [p["name"] for p in requests if p["in"] == "query"]
            some = st.lists(st.sampled_from(names), unique=True) if names else st.just([])
            query = {name: data.draw(TEXTS) for name in data.draw(some)}
            at = re.sub(r"{\w+}", lambda _: quote(data.draw(TEXTS), safe="") or "x", path.lstrip("/"))
            body = data.draw(_bodies(ROWS[method, path])) if method in ("POST", "PUT", "PATCH") else None
            asyncio.run_coroutine_threadsafe(send(method, at, query, body), loop).result(60)

        for key in keys:
            await asyncio.to_thread(fuzz, *key)
        assert (await client.get("me")).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/../settings.py",
        "/%2e%2e/settings.py",
        "/..%2fsettings.py",
        "/%2e%2e%2fsettings.py",
        "/....//settings.py",
        "/parts/../../settings.py",
        "/parts/%2e%2e/%2e%2e/settings.py",
        "/..\\settings.py",
        "/%5c..%5csettings.py",
        "//etc/passwd",
        "/%2fetc/passwd",
        "/etc/passwd%00.js",
        "/api/v1/../../settings.py",
        "/api/v1/people/../../../settings.py",
        "/.",
        "/jsconfig.json",
    ],
)
async def test_no_path_leads_out_of_the_pages(server: NatsServer, admin: Client, path: str) -> None:
    async with console_on(server, admin) as console:
        parts = urlsplit(console.url)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        answer = await reader.read()
        writer.close()
        assert answer.split(b" ", 2)[1] in (b"404", b"400"), answer[:500]
        assert b"root:" not in answer and b"ConsoleSettings" not in answer


async def test_a_successful_sign_in_takes_no_tries_from_others(server: NatsServer, admin: Client) -> None:
    """All people of an office, or behind a proxy, share one address."""
    async with console_on(server, admin) as console:
        for n in range(30):
            await console.person(f"p{n}")


@pytest.mark.slow
async def test_guessing_is_rate_limited(server: NatsServer, admin: Client) -> None:
    async with console_on(server, admin) as console:
        guesser = console.nobody()
        began = time.monotonic()
        guesses = [{"name": f"n{n}", "password": "guessed it"} for n in range(60)]
        answers = await asyncio.gather(*(guesser.post("session", json=guess) for guess in guesses))
        tried = sum(answer.status_code == 401 for answer in answers)
        tries, every_s = OF_AN_ADDRESS
        assert tried <= tries + 1 + (time.monotonic() - began) / every_s, "other names do not help"
        assert {answer.status_code for answer in answers} <= {401, 429}
        while (answer := await guesser.post("session", json=guesses[0])).status_code == 401:
            pass
        assert answer.status_code == 429 and int(answer.headers["retry-after"]) > 0
        for secret in ("tgc_", "tgc_x", "x" * 5000):
            program = console.nobody(Authorization=f"Bearer {secret}")
            assert (await program.get("me")).status_code in (401, 431)


# ---- a proxy that authenticates people


async def test_only_the_configured_proxy_is_trusted(server: NatsServer, admin: Client) -> None:
    header = "X-Forwarded-User"
    async with console_on(server, admin, console_proxy_header=header, console_proxies="127.0.0.1/32") as console:
        await console.person("anna", sees_all=True)
        nobody = console.nobody()
        assert (await nobody.get("me", headers={header: "anna"})).json()["via"] == "proxy"
        assert (await nobody.get("me")).status_code == 401
        for name in ("Anna", "anna,root", "root", "", "anna;root", "../anna", "a" * 70, "person.anna"):
            assert (await nobody.get("me", headers={header: name})).status_code == 401, name
        twice = await nobody.get("me", headers=[(header, "anna"), (header, "root")])
        assert twice.status_code == 401, "whoever asked has added one"
        evil = {header: "anna", "Origin": "https://evil.example"}
        assert (await nobody.post("me/tokens", json={"label": "x"}, headers=evil)).status_code == 403
        stale = {header: "anna", "Cookie": "tidegate_session=none"}
        assert (await nobody.get("me", headers=stale)).status_code == 401, "a session counts first"


async def test_a_proxy_header_from_elsewhere_is_ignored(server: NatsServer, admin: Client) -> None:
    header = "X-Forwarded-User"
    async with console_on(server, admin, console_proxy_header=header, console_proxies="10.0.0.0/8") as console:
        await console.person("anna")
        for more in ({}, {"X-Forwarded-For": "10.0.0.1"}, {"Forwarded": "for=10.0.0.1"}, {"X-Real-IP": "10.0.0.1"}):
            assert (await console.nobody().get("me", headers={header: "anna", **more})).status_code == 401
    async with console_on(server, admin) as console:
        assert (await console.nobody().get("me", headers={header: "anna"})).status_code == 401, "no header is set"


async def test_a_proxy_signs_in_no_disabled_account(server: NatsServer, admin: Client) -> None:
    header = "X-Forwarded-User"
    async with console_on(server, admin, console_proxy_header=header) as console:
        root = await console.person("root", "admin", sees_all=True)
        await root.put("people/anna", json={"role": "viewer"})
        assert (await console.nobody().get("me", headers={header: "anna"})).status_code == 200
        await root.put("people/anna", json={"role": "viewer", "disabled": True})
        assert (await console.nobody().get("me", headers={header: "anna"})).status_code == 401
