"""Access to the console: links, passwords, sessions, tokens, and attacks on all of them."""

from __future__ import annotations

import asyncio
import json

import httpx
import pytest
from nats.aio.client import Client

from services.console.accounts.gate import COOKIE
from tests.support.console.people import add_camera, console_on
from tidegate.local.server import NatsServer


async def test_a_link_signs_in_once(server: NatsServer, admin: Client) -> None:
    async with console_on(server, admin) as console:
        secret = await console.link("root")
        first, second = console.nobody(), console.nobody()
        answers = await asyncio.gather(*(c.post("session/link", json={"token": secret}) for c in (first, second)))
        assert sorted(a.status_code for a in answers) == [200, 401]
        winner = first if answers[0].status_code == 200 else second
        me = (await winner.get("me")).json()
        assert (me["name"], me["role"], me["cameras"]) == ("root", "admin", None)


async def test_a_password_signs_in_and_a_wrong_one_does_not(server: NatsServer, admin: Client) -> None:
    async with console_on(server, admin) as console:
        anna = await console.person("anna")
        other = await console.signed_in("anna")
        assert (await anna.post("me/password", json={"new": "short"})).status_code == 400
        assert (await anna.post("me/password", json={"new": "correct horse battery"})).status_code == 204
        assert (await anna.get("me")).status_code == 200
        assert (await other.get("me")).status_code == 401, "whoever was signed in before is signed out"
        again = console.nobody()
        right = {"name": "anna", "password": "correct horse battery"}
        assert (await again.post("session", json={**right, "password": "wrong"})).status_code == 401
        assert (await again.post("session", json={**right, "name": "nobody"})).status_code == 401
        signed = await again.post("session", json=right)
        assert signed.status_code == 200
        assert "HttpOnly" in signed.headers["set-cookie"] and "samesite=strict" in signed.headers["set-cookie"].lower()
        again.headers["X-CSRF-Token"] = signed.json()["csrf"]
        assert (await again.post("me/password", json={"old": "no", "new": "another long one"})).status_code == 403


async def test_guessing_is_slowed_down(server: NatsServer, admin: Client) -> None:
    async with console_on(server, admin) as console:
        guesser = console.nobody()
        statuses = [
            (await guesser.post("session", json={"name": "anna", "password": f"guess {n}"})).status_code
            for n in range(8)
        ]
        assert statuses == [401] * 5 + [429] * 3


async def test_a_preset_session_cookie_is_replaced(server: NatsServer, admin: Client) -> None:
    """An attacker who could set a cookie would know the session of a victim's sign-in."""
    async with console_on(server, admin) as console:
        victim = console.nobody()
        victim.cookies.set(COOKIE, "chosen-by-somebody-else", domain="127.0.0.1", path="/")
        await victim.post("session/link", json={"token": await console.link("root")})
        assert victim.cookies[COOKIE] != "chosen-by-somebody-else"
        attacker = console.nobody()
        attacker.cookies.set(COOKIE, "chosen-by-somebody-else")
        assert (await attacker.get("me")).status_code == 401


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 403),
        ({"X-CSRF-Token": "guessed"}, 403),
        ({"X-CSRF-Token": "own", "Origin": "https://evil.example"}, 403),
        ({"X-CSRF-Token": "own", "Origin": "null"}, 403),
        ({"X-CSRF-Token": "own"}, 204),
    ],
)
async def test_a_page_of_another_site_changes_nothing(
    server: NatsServer, admin: Client, headers: dict[str, str], status: int
) -> None:
    async with console_on(server, admin) as console:
        anna = await console.person("anna")
        own = anna.headers.pop("X-CSRF-Token")
        sent = {name: own if value == "own" else value for name, value in headers.items()}
        assert (await anna.delete("session", headers=sent)).status_code == status
        assert (await anna.get("me")).status_code == (401 if status == 204 else 200)


async def test_events_reach_people_who_may_see_the_camera(server: NatsServer, admin: Client) -> None:
    async with console_on(server, admin) as console:
        for id in ("lobby", "vault"):
            await add_camera(admin, id)
        anna, eve = (
            await console.person("anna", cameras=["lobby", "vault"]),
            await console.person("eve", cameras=["lobby"]),
        )

        async def hear(client: httpx.AsyncClient, ready: asyncio.Event) -> list[str]:
            heard = []
            async with client.stream("GET", "events") as answer:
                assert answer.status_code == 200
                async for line in answer.aiter_lines():
                    if line == "event: ready":
                        ready.set()
                    if line.startswith("data: {") and "camera" in line:
                        heard.append(json.loads(line[6:])["camera"])
                        if heard[-1] == "lobby":
                            return heard
            return heard

        readies = [asyncio.Event(), asyncio.Event()]
        tasks = [asyncio.create_task(hear(c, r)) for c, r in zip((anna, eve), readies, strict=True)]
        await asyncio.gather(*(r.wait() for r in readies))
        for n, camera in enumerate(("vault", "lobby")):
            await admin.jetstream().publish(
                f"events.alerts.{camera}",
                json.dumps({"camera": camera}).encode(),
                headers={"ce-id": f"test/{n}", "Nats-Msg-Id": f"test/{n}"},
            )
        assert await asyncio.gather(*tasks) == [["vault", "lobby"], ["lobby"]]
        assert (await eve.get("events", params={"cameras": "vault"})).json() == {"error": "there is no camera 'vault'"}
        assert (await eve.get("events", params={"cameras": "cellar"})).json() == {
            "error": "there is no camera 'cellar'"
        }
