"""The page Site over HTTP: the file of what runs, comparing and applying another one, and hostile files."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import httpx
import msgspec
import pytest
from nats.aio.client import Client

from services.console.site import document
from services.console.web.asker import ROLES
from shared.client import registry, secret_entries
from shared.contract import endpoint, names
from shared.contract.cameras import Camera, new_camera
from shared.contract.endpoint import EndpointSettings
from shared.contract.reading.entries import entries
from shared.site import journal, state
from shared.site.journal import Lock
from shared.site.plan import Write
from tests.support.console.people import Running, console_on
from tests.support.waiting import patience_s
from tidegate.local.server import NatsServer

PASSWORD = "hunter2"
GATE = "  gate: {url: rtsp://10.0.0.9/b, fps: 5}\n"


async def lobby(admin: Client) -> None:
    """Store a camera with a password, rules and a policy."""
    camera, secret = new_camera(f"rtsp://me:{PASSWORD}@10.0.0.7/stream1", fps=2.0)
    await registry.put(admin.jetstream(), "lobby", camera, secret)
    await (await admin.jetstream().key_value(names.RECORDINGS)).put("default", b'{"keep_days": 7}')


async def root(console: Running, name: str = "root") -> httpx.AsyncClient:
    return await console.person(name, "admin", sees_all=True)


async def compared(client: httpx.AsyncClient, text: str, *prune: str) -> dict[str, Any]:
    answer = await client.post("site/compare", json={"text": text, "prune": prune})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def applied(client: httpx.AsyncClient, text: str, token: str, *prune: str) -> httpx.Response:
    return await client.post("site/apply", json={"text": text, "prune": prune, "token": token})


async def changes(client: httpx.AsyncClient) -> list[dict[str, Any]]:
    """The applied files in the audit log, the newest first."""
    found: list[dict[str, Any]] = (await client.get("audit", params={"action": "site.apply"})).json()["changes"]
    return found


async def test_the_file_has_variables_in_place_of_passwords(server: NatsServer, admin: Client) -> None:
    await lobby(admin)
    async with console_on(server, admin) as console:
        for role in ROLES:
            person = await console.person(role, role, sees_all=True)
            answer = await person.get("site")
            assert answer.status_code == (403 if role == "viewer" else 200), role
            assert PASSWORD not in answer.text
        text = answer.json()["text"]
        assert "password: '${SITE_LOBBY_PASSWORD}'" in text and "keep_days: 7" in text
        found = await compared(person, text)
        assert found["notices"] == ["the stored password of 1 camera stays"]
        assert not found["changes"] and not found["mistakes"] and found["sections"] == ["cameras", "recording"]


async def test_what_was_compared_is_applied_and_recorded_first(server: NatsServer, admin: Client) -> None:
    await lobby(admin)
    async with console_on(server, admin) as console:
        anna = await root(console, "anna")
        text = (await anna.get("site")).json()["text"].replace("fps: 2", "fps: 4")
        text = text.replace("recording: {keep_days: 7}", GATE + "recording: {keep_days: 9}")
        found = await compared(anna, text)
        assert [(c["kind"], c["what"]) for c in found["changes"]] == [
            ("change", "camera lobby"),
            ("add", "camera gate"),
            ("change", "recording of all cameras"),
        ]
        assert await changes(anna) == []
        done = (await applied(anna, text, found["token"])).json()
        assert (done["state"], done["added"], done["changed"]) == ("done", 1, 2)
        assert (await anna.get("site/apply")).json() == done
        [entry] = await changes(anna)
        assert entry["person"] == "anna" and "add camera gate" in entry["details"]["changes"]
        now = await state.read(admin.jetstream())
        camera = now.cameras["lobby"]
        assert isinstance(camera, Camera) and camera.fps == 4 and now.credentials["lobby"].secret == f"me:{PASSWORD}"
        assert set(now.cameras) == {"gate", "lobby"}
        assert await journal.pending(admin.jetstream()) is None
        assert not (await compared(anna, text))["changes"]


async def test_only_sections_of_the_file_are_pruned(server: NatsServer, admin: Client) -> None:
    await lobby(admin)
    async with console_on(server, admin) as console:
        anna = await root(console)
        text = f"cameras:\n{GATE}"
        stays = await compared(anna, text, "recording", "groups")
        assert stays["removed"] == 0 and "camera lobby is not in the file, and stays" in stays["notices"]
        found = await compared(anna, text, "cameras", "recording")
        assert [c["what"] for c in found["changes"] if c["kind"] == "remove"] == ["camera lobby"]
        assert (await applied(anna, text, found["token"])).status_code == 409, "other sections than those compared"
        assert (await applied(anna, text, found["token"], "cameras", "recording")).status_code == 200
        now = await state.read(admin.jetstream())
        assert set(now.cameras) == set(now.credentials) == {"gate"} and "default" in now.policies


@pytest.mark.parametrize(
    "text",
    [
        "cameras: {a: {url: rtsp://10.0.0.1/x, user: me, password: hunter2}}",
        "cameras: {a: {url: 'rtsp://me:hunter2@10.0.0.1/x'}}",
        "cameras: {a: 'rtsp://me:hunter2@10.0.0.1/x'}",
        "cameras: [{url: rtsp://10.0.0.1/x, password: hunter2}]",
        "cameras: {a: {url: rtsp://10.0.0.1/x, Password: [hunter2]}}",
        "cameras: {a: !!pairs [password: hunter2]}",
        "cameras: {a: {classes: !!pairs [password: hunter2]}}",
        "cameras: {a: 'password: hunter2'}",
        "cameras: {a: 'me:hunter2@10.0.0.1/x'}",
        "defaults: {password: hunter2}",
        "groups: {g: {cameras: [a], settings: {password: hunter2}}}",
        "cameras: {a: {url: rtsp://10.0.0.1/x, password: !hunter2 x}}",
        "cameras: {a: {url: rtsp://10.0.0.1/x, password: !!int hunter2}}",
        "cameras: {a: {url: rtsp://10.0.0.1/x, password: *hunter2}}",
        "cameras: {a: {url: rtsp://10.0.0.1/x, password: '${A}hunter2'}}",
        "hunter2",
        "- hunter2",
        "cameras: {a: {password: @hunter2}}",
        'cameras: {a: {password: "hunter2\\q"}}',
    ],
)
async def test_a_literal_password_is_refused_and_never_repeated(
    server: NatsServer, admin: Client, text: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    async with console_on(server, admin) as console:
        anna = await root(console)
        answer = await anna.post("site/compare", json={"text": text})
        assert answer.json()["mistakes"] and not answer.json()["token"]
        refused = await applied(anna, text, "")
        assert refused.status_code == 400
        log = (await anna.get("audit")).text
        logged = caplog.text + "".join(capfd.readouterr())
        assert PASSWORD not in answer.text + refused.text + log + logged + (await anna.get("site/apply")).text
        assert not (await state.read(admin.jetstream())).cameras


async def test_no_file_of_the_server_is_read(server: NatsServer, admin: Client) -> None:
    async with console_on(server, admin) as console:
        anna = await root(console)
        for field in ("password_file", "rules_file", "Password_File"):
            found = await compared(
                anna, f"cameras: {{a: {{url: rtsp://10.0.0.1/x, user: me, {field}: /etc/hostname}}}}"
            )
            [mistake] = found["mistakes"]
            assert mistake["path"] == f"cameras.a.{field}" and "reads no files" in mistake["text"]
            assert mistake["line"] == 1


async def test_no_variable_of_the_server_has_a_value(
    server: NatsServer, admin: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STOLEN", "10.6.6.6")
    async with console_on(server, admin) as console:
        anna = await root(console)
        for fields in ("url: 'rtsp://${STOLEN}/x'", "url: rtsp://10.0.0.1/x, user: me, password: '${STOLEN}'"):
            answer = await anna.post("site/compare", json={"text": f"cameras:\n  a: {{{fields}}}"})
            [mistake] = answer.json()["mistakes"]
            assert "the variable STOLEN is not set; the console has no variables" in mistake["text"]
            assert mistake["line"] == 2 and "10.6.6.6" not in answer.text


HOSTILE = {
    "deep YAML": "[" * 200_000,
    "deep JSON": '{"cameras":' * 50_000,
    "deep blocks": "\n".join(" " * n + "a:" for n in range(1000)),
    "aliases": "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\ncameras: *c",
    "merge": "x: &x {url: a}\ncameras: {a: {<<: *x}}",
    "tags": "cameras: !!python/object/apply:os.system ['true']",
    "a list": "[1, 2]",
    "binary": "\0\1\2",
    "twice": "cameras: {a: {url: rtsp://10.0.0.1/x}, a: {url: rtsp://10.0.0.2/x}}",
    "sections": "camera: {}\ncameras: 5\ngroups: []\nrecording: x",
    "keys": "cameras: {[1]: x}\n? {a: b}\n: c",
    "wildcards": "cameras: {'*': {url: rtsp://10.0.0.1/x}, 'a.b': {url: rtsp://10.0.0.1/x}, '>': {url: rtsp://h/x}}",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
async def test_hostile_files_have_mistakes(server: NatsServer, admin: Client, text: str) -> None:
    async with console_on(server, admin) as console:
        anna = await root(console)
        found = await compared(anna, text)
        assert found["mistakes"] and not found["token"]
        assert (await applied(anna, text, "x")).status_code == 400
        assert not await changes(anna)


async def test_bodies_have_a_limit(server: NatsServer, admin: Client) -> None:
    async with console_on(server, admin) as console:
        anna = await root(console)
        for characters, status in ((document.MOST + 1, 400), (13 * 2**20, 413)):
            answer = await anna.post("site/compare", json={"text": "#" * characters})
            assert answer.status_code == status


async def test_many_mistakes_are_listed_in_part(server: NatsServer, admin: Client) -> None:
    async with console_on(server, admin) as console:
        text = "cameras:\n" + "".join(f"  c{n}: {{url: 5}}\n" for n in range(2000))
        assert len((await compared(await root(console), text))["mistakes"]) == 500


async def test_a_change_in_between_is_refused_and_changes_nothing(server: NatsServer, admin: Client) -> None:
    await lobby(admin)
    async with console_on(server, admin) as console:
        anna = await root(console)
        text = f"cameras:\n{GATE}recording: {{keep_days: 9}}"
        found = await compared(anna, text)
        await registry.change(admin.jetstream(), "lobby", {"fps": 3.0})
        refused = await applied(anna, text, found["token"])
        assert refused.status_code == 409 and "compare again" in refused.json()["error"]
        assert set((await state.read(admin.jetstream())).cameras) == {"lobby"} and not await changes(anna)
        assert (await applied(anna, text, (await compared(anna, text))["token"])).status_code == 200


async def test_of_two_admins_one_wins_and_nothing_is_half_applied(server: NatsServer, admin: Client) -> None:
    await lobby(admin)
    async with console_on(server, admin) as one, console_on(server, admin) as other:
        people = [await root(one, "anna"), await root(one, "bert"), await root(other, "cleo")]
        texts = [
            f"cameras: {{c{n}: {{url: rtsp://10.0.1.{n}/x}}, d{n}: {{url: rtsp://10.0.2.{n}/x}}}}" for n in range(3)
        ]
        tokens = [(await compared(p, t))["token"] for p, t in zip(people, texts, strict=True)]
        replies = await asyncio.gather(*(applied(*request) for request in zip(people, texts, tokens, strict=True)))
        assert sorted(r.status_code for r in replies) == [200, 409, 409], [r.text for r in replies]
        winner = next(n for n, r in enumerate(replies) if r.status_code == 200)
        assert set((await state.read(admin.jetstream())).cameras) == {"lobby", f"c{winner}", f"d{winner}"}
        assert await journal.pending(admin.jetstream()) is None


@pytest.mark.slow
async def test_nothing_changes_without_the_audit_log(server: NatsServer, admin: Client) -> None:
    async with console_on(server, admin) as console:
        anna = await root(console)
        text = f"cameras:\n{GATE}"
        token = (await compared(anna, text))["token"]
        await admin.jetstream().delete_stream(names.AUDIT)
        assert (await applied(anna, text, token)).status_code == 503
        assert not (await state.read(admin.jetstream())).cameras and not await entries(admin.jetstream(), names.SITE)
        assert (await anna.get("site/apply")).json()["state"] == "failed"


async def test_an_interrupted_apply_is_shown_and_completed_by_the_next(
    server: NatsServer, admin: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "LEASE_S", 0.2)
    js = admin.jetstream()
    async with console_on(server, admin) as console:
        anna = await root(console)
        text = f"cameras:\n{GATE}"
        before = await compared(anna, text)
        write = Write(names.RECORDINGS, "default", 0, b'{"keep_days": 3}')
        site = await js.key_value(names.SITE)
        await site.put("change.0", msgspec.json.encode(write))
        await site.put(journal.LOCK, msgspec.json.encode(Lock(by="<b>bob</b>@there", phase="committed", count=1)))
        assert "<b>bob</b>@there applies" in (await anna.get("site")).json()["interrupted"]
        assert (await compared(anna, text))["interrupted"]
        olga = await console.person("olga", "operator", sees_all=True)
        assert (await olga.get("site")).json()["interrupted"] == ""
        refused = await applied(anna, text, before["token"])
        assert refused.status_code == 409 and "changes of <b>bob</b>@there are complete" in refused.json()["error"]
        now = await state.read(js)
        assert "default" in now.policies and not now.cameras and await journal.pending(js) is None
        after = await compared(anna, text)
        assert after["interrupted"] == "" and (await applied(anna, text, after["token"])).status_code == 200


async def test_a_browser_that_leaves_does_not_stop_the_apply(server: NatsServer, admin: Client) -> None:
    async with console_on(server, admin) as console:
        anna = await root(console)
        text = "cameras:\n" + "".join(f"  c{n}: {{url: rtsp://10.0.0.{n}/x}}\n" for n in range(100))
        token = (await compared(anna, text))["token"]
        request = asyncio.create_task(applied(anna, text, token))
        async with asyncio.timeout(patience_s()):
            while console.pages.site.applying.last.state != "runs":
                await asyncio.sleep(0)
            request.cancel()
            bert = await root(console, "bert")
            while (run := (await bert.get("site/apply")).json())["state"] == "runs":
                await asyncio.sleep(0.01)
        assert (run["state"], run["by"], run["added"]) == ("done", "root", 100)
        assert len((await state.read(admin.jetstream())).cameras) == 100


async def test_other_sites_roles_and_cameras_are_refused(server: NatsServer, admin: Client) -> None:
    async with console_on(server, admin) as console:
        anna = await root(console)
        text = f"cameras:\n{GATE}"
        token = (await compared(anna, text))["token"]
        for role in ("viewer", "operator"):
            for person in (
                await console.person(f"{role}-all", role, sees_all=True),
                await console.person(f"{role}-some", role, cameras=["gate"]),
            ):
                assert (await person.post("site/compare", json={"text": text})).status_code == 403
                assert (await applied(person, text, token)).status_code == 403
        some = await console.person("some", "admin", cameras=["gate"])
        assert (await some.get("site")).status_code == (await applied(some, text, token)).status_code == 403
        del anna.headers["X-CSRF-Token"]
        assert (await applied(anna, text, token)).status_code == 403
        assert not (await state.read(admin.jetstream())).cameras


async def test_readers_are_a_notice(server: NatsServer, admin: Client) -> None:
    async with console_on(server, admin) as console:
        anna = await root(console)
        found = await compared(anna, f"cameras:\n{GATE}readers: {{desk: {{kinds: [alerts]}}}}")
        assert "readers are not changed here" in found["notices"][0] and found["sections"] == ["cameras"]
        assert [c["what"] for c in found["changes"]] == ["camera gate"]


async def test_the_webhook_is_a_notice_and_neither_shown_nor_changed(server: NatsServer, admin: Client) -> None:
    js = admin.jetstream()
    settings = EndpointSettings(url="https://hooks.example.org/T0KEN", secret="s3cret")
    await secret_entries.write(js, names.ENDPOINT, endpoint.KEY, endpoint.encode(settings))
    async with console_on(server, admin) as console:
        anna = await root(console)
        assert "hooks.example.org" not in (await anna.get("site")).text
        section = "webhook: {url: 'https://evil.example/${X}', secret: '${Y}', secret_file: null}"
        text = f"cameras:\n{GATE}{section}"
        found = await compared(anna, text)
        assert "the webhook is not changed here" in found["notices"][0] and found["sections"] == ["cameras"]
        assert [c["what"] for c in found["changes"]] == ["camera gate"]
        assert (await applied(anna, text, found["token"], "webhook")).status_code == 400
        assert (await applied(anna, text, found["token"])).status_code == 200
        refused = await anna.post("site/compare", json={"text": "webhook: https://hooks.example.org/T0KEN"})
        assert "T0KEN" not in refused.text
    assert (await state.read(js)).endpoint == settings
