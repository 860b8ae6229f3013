"""The page People: accounts, the roles that each may assign, secrets that stay hidden, and personal tokens."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from nats.aio.client import Client

from tests.support.console.people import add_camera, console_on
from tests.support.waiting import patience_s
from tidegate.local.server import NatsServer

LONG = "correct horse battery"


async def test_an_admin_admits_a_person(server: NatsServer, admin: Client) -> None:
    async with console_on(server, admin) as console:
        for id in ("lobby", "gate", "vault"):
            await add_camera(admin, id)
        root = await console.person("root", "admin", sees_all=True)
        assert (await root.put("groups/ways", json={"cameras": ["lobby", "gate"]})).status_code == 200
        fields = {"role": "viewer", "cameras": ["vault"], "groups": ["ways"]}
        built = await root.put("people/anna", json=fields)
        assert built.status_code == 200, built.text
        assert built.json() == {
            "name": "anna",
            "role": "viewer",
            "sees_all": False,
            "cameras": ["vault"],
            "groups": ["ways"],
            "disabled": False,
            "has_password": False,
            "by_provider": False,
            "provider_known": False,
            "sessions": 0,
            "tokens": 0,
            "signed_in": None,
        }
        link = (await root.post("people/anna/link")).json()
        assert link["address"] is None
        anna = console.nobody()
        answer = await anna.post("session/link", json={"token": link["token"]})
        assert answer.json()["cameras"] == ["gate", "lobby", "vault"]
        anna.headers["X-CSRF-Token"] = answer.json()["csrf"]
        assert (await anna.post("me/password", json={"new": LONG})).status_code == 204
        assert (await root.put("people/anna", json={"role": "operator"})).json()["has_password"], "it is kept"
        me = (await anna.get("me")).json()
        assert (me["role"], me["cameras"]) == ("operator", []), "what was given counts at once"
        shown = (await root.get("people")).json()
        assert [(p["name"], p["sessions"]) for p in shown["people"]] == [("anna", 1), ("root", 1)]
        assert "argon2" not in str(shown) and "csrf" not in str(shown)
        assert (await root.post("people/anna/signout")).status_code == 204
        assert (await anna.get("me")).status_code == 401
        fields = [c["action"] for c in (await root.get("audit", params={"person": "root"})).json()["changes"]]
        assert fields == ["person.signout", "person.put", "person.link", "person.put", "group.put", "session.begin"]
        everything = (await root.get("audit")).text
        assert link["token"] not in everything and "argon2" not in everything


async def test_people_are_listed_a_page_at_a_time(server: NatsServer, admin: Client) -> None:
    async with console_on(server, admin) as console:
        root = await console.person("root", "admin", sees_all=True)
        for n in range(4):
            await root.put(f"people/p{n}", json={"role": "viewer"})
        first = (await root.get("people", params={"limit": 3})).json()
        rest = (await root.get("people", params={"limit": 3, "cursor": first["next"]})).json()
        assert [p["name"] for p in first["people"] + rest["people"]] == ["p0", "p1", "p2", "p3", "root"]
        assert rest["next"] is None


async def test_a_disabled_person_is_signed_out_immediately(server: NatsServer, admin: Client) -> None:
    async with console_on(server, admin) as console:
        root = await console.person("root", "admin", sees_all=True)
        anna = await console.person("anna")
        token = (await anna.post("me/tokens", json={"label": "wall"})).json()["secret"]
        program = console.nobody(Authorization=f"Bearer {token}")
        assert (await program.get("me")).json()["via"] == "token"
        await root.put("people/anna", json={"role": "viewer", "disabled": True})
        assert {(await c.get("me")).status_code for c in (anna, program)} == {401}
        assert (await root.post("people/anna/link")).status_code == 409
        await root.put("people/anna", json={"role": "viewer"})
        assert {(await c.get("me")).status_code for c in (anna, program)} == {401}, "what was before is over"


async def test_a_recreated_account_is_a_new_person(server: NatsServer, admin: Client) -> None:
    async with console_on(server, admin) as console:
        root = await console.person("root", "admin", sees_all=True)
        anna = await console.person("anna")
        link = (await root.post("people/anna/link")).json()["token"]
        assert (await anna.put("find/saved/vans", json={"search": {"text": "a van"}})).status_code == 204
        assert (await root.delete("people/anna")).status_code == 204
        assert (await root.delete("people/anna")).status_code == 404
        await root.put("people/anna", json={"role": "admin", "sees_all": True})
        other = await console.signed_in("anna")
        assert (await other.get("find/saved")).json() == {"saved": []}
        assert (await anna.get("me")).status_code == 401
        assert (await console.nobody().post("session/link", json={"token": link})).status_code == 401


async def test_the_last_admin_cannot_be_removed(server: NatsServer, admin: Client) -> None:
    async with console_on(server, admin) as console:
        root = await console.person("root", "admin", sees_all=True)
        await console.person("eve", "admin")
        for change in ({"role": "viewer"}, {"role": "admin"}, {"role": "admin", "sees_all": True, "disabled": True}):
            answer = await root.put("people/root", json=change)
            assert (answer.status_code, "nobody would be left" in answer.text) == (409, True), change
        assert (await root.delete("people/root")).status_code == 409
        assert (await root.put("people/ben", json={"role": "admin", "sees_all": True})).status_code == 200
        assert (await root.delete("people/root")).status_code == 204


async def test_two_admins_cannot_remove_each_other_concurrently(server: NatsServer, admin: Client) -> None:
    """Use two consoles, so that no lock of one process separates them."""
    async with console_on(server, admin) as one, console_on(server, admin) as two:
        for n in range(5):
            anna = await one.person("anna", "admin", sees_all=True)
            ben = await two.person("ben", "admin", sees_all=True)
            async with asyncio.timeout(patience_s()):
                while len((await anna.get("people")).json()["people"]) < 2:
                    await asyncio.sleep(0.02)
            answers = await asyncio.gather(
                anna.put("people/ben", json={"role": "viewer"}), ben.delete("people/anna"), return_exceptions=True
            )
            statuses = [a.status_code for a in answers if not isinstance(a, BaseException)]
            assert sum(status < 300 for status in statuses) <= 1, (n, statuses)
            bucket = await admin.jetstream().key_value("console")
            await bucket.delete("leaving")
            await bucket.delete("person.anna")
            await bucket.delete("person.ben")


async def test_an_admin_of_some_cameras_changes_no_account(server: NatsServer, admin: Client) -> None:
    """They, or a narrowed token, would grant themselves the other cameras."""
    async with console_on(server, admin) as console:
        await add_camera(admin, "lobby")
        root = await console.person("root", "admin", sees_all=True)
        eve = await console.person("eve", "admin", cameras=["lobby"])
        request = {"label": "narrow", "cameras": ["lobby"]}
        narrow = console.nobody(Authorization=f"Bearer {(await root.post('me/tokens', json=request)).json()['secret']}")
        for client in (eve, narrow):
            answers = [
                await client.get("people"),
                await client.put("people/eve", json={"role": "admin", "sees_all": True}),
                await client.delete("people/root"),
                await client.post("people/root/link"),
                await client.post("people/root/signout"),
                await client.get("groups"),
                await client.get("groups/x"),
                await client.put("groups/x", json={"cameras": ["lobby"]}),
                await client.delete("groups/x"),
            ]
            assert {a.status_code for a in answers} == {403}


async def test_a_token_creates_neither_tokens_nor_links(server: NatsServer, admin: Client) -> None:
    async with console_on(server, admin) as console:
        root = await console.person("root", "admin", sees_all=True)
        built = (await root.post("me/tokens", json={"label": "all"})).json()
        program = console.nobody(Authorization=f"Bearer {built['secret']}")
        assert (await program.get("people")).status_code == 200
        answers = [
            await program.post("me/tokens", json={"label": "more"}),
            await program.get("me/tokens"),
            await program.delete(f"me/tokens/{built['token']['id']}"),
            await program.post("people/root/link"),
            await program.post("me/password", json={"new": LONG}),
        ]
        assert {a.status_code for a in answers} == {403}


async def test_a_token_never_exceeds_its_persons_rights(server: NatsServer, admin: Client) -> None:
    async with console_on(server, admin) as console:
        for id in ("lobby", "vault"):
            await add_camera(admin, id)
        root = await console.person("root", "admin", sees_all=True)
        ben = await console.person("ben", "operator", cameras=["lobby"])
        assert (await ben.post("me/tokens", json={"label": "x", "role": "admin"})).status_code == 403
        hidden = await ben.post("me/tokens", json={"label": "x", "cameras": ["vault"]})
        none = await ben.post("me/tokens", json={"label": "x", "cameras": ["nowhr"]})
        assert hidden.content.replace(b"vault", b"nowhr") == none.content and hidden.status_code == 404
        built = (await ben.post("me/tokens", json={"label": "wall", "role": "viewer", "days": 1})).json()
        program = console.nobody(Authorization=f"Bearer {built['secret']}")
        me = (await program.get("me")).json()
        assert (me["role"], me["cameras"], me["via"]) == ("viewer", ["lobby"], "token")
        await root.put("people/ben", json={"role": "viewer", "cameras": []})
        assert (await program.get("me")).json()["cameras"] == []
        assert [t["label"] for t in (await ben.get("me/tokens")).json()["tokens"]] == ["wall"]
        assert built["secret"] not in (await ben.get("me/tokens")).text
        anna = await console.person("anna")
        assert (await anna.delete(f"me/tokens/{built['token']['id']}")).status_code == 404, "it is ben's"
        assert (await ben.delete(f"me/tokens/{built['token']['id']}")).status_code == 204
        assert (await program.get("me")).status_code == 401


async def test_a_person_can_sign_out_everywhere(server: NatsServer, admin: Client) -> None:
    async with console_on(server, admin) as console:
        anna = await console.person("anna")
        lost, ben = await console.signed_in("anna"), await console.person("ben")
        assert (await anna.delete("me/sessions")).status_code == 204
        assert [(await c.get("me")).status_code for c in (anna, lost, ben)] == [401, 401, 200]


async def test_signing_out_ends_tokens_on_request(server: NatsServer, admin: Client) -> None:
    async with console_on(server, admin) as console:
        root = await console.person("root", "admin", sees_all=True)
        anna = await console.person("anna")
        token = (await anna.post("me/tokens", json={"label": "wall"})).json()["secret"]
        program = console.nobody(Authorization=f"Bearer {token}")
        await root.post("people/anna/signout")
        assert ((await anna.get("me")).status_code, (await program.get("me")).status_code) == (401, 200)
        await root.post("people/anna/signout", params={"tokens": "true"})
        assert (await program.get("me")).status_code == 401


@pytest.mark.parametrize(
    ("path", "body", "status", "says"),
    [
        ("people/an.na", {"role": "viewer"}, 400, "'an.na' can't be used"),
        ("people/anna", {"role": "king"}, 400, "role"),
        ("people/anna", {"role": "viewer", "passwort": "x"}, 400, "passwort"),
        ("people/anna", {"role": "viewer", "cameras": ["nowhere"]}, 404, "there is no camera 'nowhere'"),
        ("people/anna", {"role": "viewer", "groups": ["none"]}, 404, "there is no group 'none'"),
        ("people/anna", {"role": "viewer", "cameras": ["a b"]}, 400, "cameras"),
        ("groups/g.g", {"cameras": []}, 400, "can't be used"),
        ("groups/g", {"cameras": ["nowhere"]}, 404, "there is no camera 'nowhere'"),
    ],
)
async def test_impossible_changes_are_refused_with_a_reason(
    server: NatsServer, admin: Client, path: str, body: dict[str, Any], status: int, says: str
) -> None:
    async with console_on(server, admin) as console:
        root = await console.person("root", "admin", sees_all=True)
        answer = await root.put(path, json=body)
        assert answer.status_code == status and says in answer.json()["error"], answer.text


async def test_a_group_with_members_cannot_be_removed(server: NatsServer, admin: Client) -> None:
    """A later group of the same name would grant its cameras to them."""
    async with console_on(server, admin) as console:
        await add_camera(admin, "lobby")
        root = await console.person("root", "admin", sees_all=True)
        await root.put("groups/ways", json={"cameras": ["lobby", "lobby"]})
        await root.put("people/anna", json={"role": "viewer", "groups": ["ways"]})
        ways = {"name": "ways", "cameras": ["lobby"], "people": ["anna"]}
        assert (await root.get("groups/ways")).json() == ways
        assert (await root.get("groups")).json() == {"groups": [ways]}
        refused = await root.delete("groups/ways")
        assert refused.status_code == 409 and "anna is in it" in refused.text
        await root.put("people/anna", json={"role": "viewer"})
        assert (await root.delete("groups/ways")).status_code == 204
        assert (await root.get("groups/ways")).status_code == 404
