"""The page Models over HTTP: running and measured models, the rights to see and to choose them, and hostile folders."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest
from nats.aio.client import Client

from services.console.models.library import MOST_SHEET_BYTES
from services.console.web.asker import ROLES
from shared.contract import names
from shared.models import measured
from tests.support.console.models import YAML, measure, picture, works
from tests.support.console.people import console_on
from tests.support.waiting import patience_s
from tests.support.worlds.now_bodies import beat
from tidegate.local.server import NatsServer


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "models"
    measure(found, "street")
    measure(found, "yard", rate=3.1)
    return found


async def changes(client: Any) -> list[dict[str, Any]]:
    """The choices of models in the audit log, the newest first."""
    found: list[dict[str, Any]] = (await client.get("audit", params={"action": "model.use"})).json()["changes"]
    return found


async def test_measured_models_have_their_figures_and_texts(server: NatsServer, admin: Client, folder: Path) -> None:
    async with console_on(server, admin, console_models=str(folder), cost_per_hour=0.4) as console:
        anna = await console.person("anna", sees_all=True)
        reply = (await anna.get("models")).json()
        assert reply["has_folder"] and reply["price"] == 0.4 and reply["active"] == ""
        street = next(m for m in reply["models"] if m["name"] == "street")
        assert street["rate"]["segments_s"] == 8.35 and street["rate"]["cameras"] == 5
        assert street["scaled_object"] == YAML and "CV_BATCH_SIZE=4\n" in street["settings"]
        assert street["measured"]["footage"] == "camera lobby" and street["warning"] == "" and street["is_checked"]
        shown = await anna.get("models/street/picture")
        assert shown.content == picture() and shown.headers["content-type"] == "image/jpeg"


async def test_running_replicas_report_model_device_and_speed(server: NatsServer, admin: Client) -> None:
    async with console_on(server, admin) as console:
        anna, olga = await console.person("anna", sees_all=True), await console.person("olga", cameras=["lobby"])
        at = beat(10.0, processed=50, items=250, model="yard", device="cuda:1")
        async with works(server, msgspec.structs.replace(at, busy_s=5.0)), asyncio.timeout(patience_s()):
            reply: dict[str, Any] = {"running": []}
            while not reply["running"]:
                await asyncio.sleep(0.05)
                reply = (await anna.get("models")).json()
        [replica] = reply["running"]
        assert (replica["model"], replica["device"]) == ("yard", "cuda:1")
        assert replica["busy_rate"] == 5.0 and replica["item_ms"] == 20.0
        assert not reply["has_folder"] and reply["models"] == []
        assert (await olga.get("models")).json()["running"] is None


async def test_frames_and_footage_are_for_people_who_see_all_cameras(
    server: NatsServer, admin: Client, folder: Path
) -> None:
    async with console_on(server, admin, console_models=str(folder)) as console:
        for role in ROLES:
            some = await console.person(f"some-{role}", role, cameras=["yard"])
            assert (await some.get("models/street/picture")).status_code == 403
            reply = await some.get("models")
            assert "lobby" not in reply.text and not any(m["has_picture"] for m in reply.json()["models"])
            refused = await some.put("models/active", json={"name": "street"})
            assert refused.status_code == 403
        assert measured.active_name(folder) == ""


async def test_an_admin_alone_chooses_and_each_choice_is_recorded_first(
    server: NatsServer, admin: Client, folder: Path
) -> None:
    async with console_on(server, admin, console_models=str(folder)) as console:
        root = await console.person("root", "admin", sees_all=True)
        for role in ("viewer", "operator"):
            other = await console.person(role, role, sees_all=True)
            assert (await other.put("models/active", json={"name": "street"})).status_code == 403
        assert (await root.put("models/active", json={"name": "street"})).status_code == 204
        assert measured.active_name(folder) == "street"
        back = await root.put("models/active", json={"name": None, "instead_of": "street"})
        assert back.status_code == 204 and measured.active_name(folder) == ""
        newest, first = await changes(root)
        assert first["details"] == {"name": "street", "before": None} and first["person"] == "root"
        assert newest["details"] == {"name": None, "before": "street"}


@pytest.mark.slow
async def test_nothing_changes_without_the_audit_log(server: NatsServer, admin: Client, folder: Path) -> None:
    async with console_on(server, admin, console_models=str(folder)) as console:
        root = await console.person("root", "admin", sees_all=True)
        await admin.jetstream().delete_stream(names.AUDIT)
        assert (await root.put("models/active", json={"name": "street"})).status_code == 503
        assert measured.active_name(folder) == ""


async def test_of_two_admins_one_wins_and_the_other_is_told(server: NatsServer, admin: Client, folder: Path) -> None:
    async with console_on(server, admin, console_models=str(folder)) as console:
        clients = [await console.person(name, "admin", sees_all=True) for name in ("anna", "bert")]
        wishes = zip(clients, ("street", "yard"), strict=True)
        replies = await asyncio.gather(*(c.put("models/active", json={"name": name}) for c, name in wishes))
        assert sorted(r.status_code for r in replies) == [204, 409]
        refused = next(r for r in replies if r.status_code == 409)
        assert f"chosen the model '{measured.active_name(folder)}'" in refused.json()["error"]
        assert len(await changes(clients[0])) == 1


async def test_changed_and_missing_files_are_warnings_and_never_chosen(
    server: NatsServer, admin: Client, folder: Path
) -> None:
    async with console_on(server, admin, console_models=str(folder)) as console:
        root = await console.person("root", "admin", sees_all=True)
        assert [m["warning"] for m in (await root.get("models")).json()["models"]] == ["", ""]
        (folder.parent / "street.onnx").write_bytes(b"other")
        (folder.parent / "yard.onnx").unlink()
        street, yard = (await root.get("models")).json()["models"]
        assert "has changed since it was measured" in street["warning"] and "is missing" in yard["warning"]
        for name in ("street", "yard"):
            refused = await root.put("models/active", json={"name": name})
            assert refused.status_code == 409 and name in refused.json()["error"]
        assert await changes(root) == []


async def test_a_model_that_was_removed_meanwhile_is_missing(server: NatsServer, admin: Client, folder: Path) -> None:
    async with console_on(server, admin, console_models=str(folder)) as console:
        root = await console.person("root", "admin", sees_all=True)
        await root.put("models/active", json={"name": "yard"})
        for path in folder.glob("yard.*"):
            path.unlink()
        reply = (await root.get("models")).json()
        assert reply["active"] == "yard" and [m["name"] for m in reply["models"]] == ["street"]
        assert (await root.get("models/yard/picture")).status_code == 404
        refused = await root.put("models/active", json={"name": "yard", "instead_of": "yard"})
        assert refused.status_code == 404
        assert (await root.put("models/active", json={"name": None, "instead_of": "yard"})).status_code == 204


@pytest.mark.parametrize("name", ["..%2fsecret", "%2e%2e%2fsecret", "a%2f..%2fsecret", "%2fetc%2fpasswd", "secret%00"])
async def test_no_name_leads_out_of_the_folder(server: NatsServer, admin: Client, folder: Path, name: str) -> None:
    (folder.parent / "secret.jpg").write_bytes(picture())
    (folder.parent / "secret.json").write_bytes((folder / "yard.json").read_bytes())
    async with console_on(server, admin, console_models=str(folder)) as console:
        root = await console.person("root", "admin", sees_all=True)
        assert (await root.get(f"models/{name}/picture")).status_code in (400, 404)
        for wish in ("../secret", "/etc/passwd", "a/../../secret", "", "secret\0", "x" * 65):
            refused = await root.put("models/active", json={"name": wish})
            assert refused.status_code in (400, 404, 409), wish
        assert measured.active_name(folder) == "" and await changes(root) == []


async def test_hostile_files_hide_no_other_model(server: NatsServer, admin: Client, folder: Path) -> None:
    secret = folder.parent / "secret.json"
    secret.write_text(json.dumps({"password": "hunter2"}))
    (folder / "broken.json").write_text('{"name": "broken"')
    (folder / "deep.json").write_text("[" * 100_000)
    (folder / "huge.json").write_bytes(b" " * 2**20)
    (folder / "binary.json").write_bytes(b"\xff\xfe\0")
    (folder / "other.json").write_bytes((folder / "yard.json").read_bytes())
    (folder / "linked.json").symlink_to(secret)
    (folder / "folder.json").mkdir()
    os.mkfifo(folder / "pipe.json")
    (folder / "a b.json").write_text("{}")
    (folder / "street.jpg").unlink()
    (folder / "street.jpg").symlink_to("/etc/passwd")
    (folder / "yard.jpg").write_bytes(b"<script>alert(1)</script>")
    async with console_on(server, admin, console_models=str(folder)) as console:
        root = await console.person("root", "admin", sees_all=True)
        reply = await root.get("models")
        errors = {m["name"]: m["error"] for m in reply.json()["models"]}
        assert {name for name, error in errors.items() if not error} == {"street", "yard"}
        assert len(errors) == 11 and "hunter2" not in reply.text
        for name in ("street", "yard", "linked", "pipe"):
            assert (await root.get(f"models/{name}/picture")).status_code == 404
        (folder / "yard.jpg").write_bytes(picture() + bytes(MOST_SHEET_BYTES))
        assert (await root.get("models/yard/picture")).status_code == 404
        assert (await root.put("models/active", json={"name": "linked"})).status_code == 409


async def test_a_damaged_mark_names_no_model(server: NatsServer, admin: Client, folder: Path) -> None:
    (folder / measured.ACTIVE).write_bytes(b"\xff\0../yard\n")
    async with console_on(server, admin, console_models=str(folder)) as console:
        root = await console.person("root", "admin", sees_all=True)
        reply = (await root.get("models")).json()
        assert not any(m["is_active"] for m in reply["models"])
        back = await root.put("models/active", json={"name": None, "instead_of": reply["active"]})
        assert back.status_code == 204 and measured.active_name(folder) == ""
