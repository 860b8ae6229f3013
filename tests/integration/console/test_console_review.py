"""Incidents over HTTP: access, pages, evidence, marks, and events from before the console's start."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import time
from typing import Any

import httpx
import msgspec
import numpy as np
import pytest
from nats.aio.client import Client

from services.console.accounts.records import TOKEN_PREFIX, ApiToken, hashed
from services.console.review import event_reader
from services.ingest.cutting.piece import Piece
from shared.client import pictures
from shared.contract import names
from shared.contract.events import (
    CameraStatus,
    Detections,
    DetectionsRevision,
    Frame,
    IncidentObject,
    Quality,
    SegmentRef,
    Snapshot,
    Timing,
    encode,
)
from tests.support.console.people import Running, add_camera, console_on
from tests.support.console.review import followed, until_listed, until_so
from tests.support.video.video_world import frames, number, path, pieces, pixels, publish, source
from tests.support.worlds.incidents import ago, incident, now, say, verdict
from tests.support.worlds.pictures_world import alert_of, alerted, all_handled, keeping
from tidegate.local.server import NatsServer

__all__ = ["path", "pieces", "source"]


async def listed(client: httpx.AsyncClient, **request: Any) -> list[str]:
    answer = await client.get("incidents", params=request)
    assert answer.status_code == 200, answer.text
    return [card["incident"] for card in answer.json()["incidents"]]


async def token(console: Running, person: str) -> httpx.AsyncClient:
    """A program with a person's token."""
    entry = ApiToken(person=person, label="t", role="admin", began=time.time(), expires=time.time() + 3600)
    await console.put(hashed("token", f"{TOKEN_PREFIX}secret"), msgspec.json.encode(entry))
    return console.nobody(Authorization=f"Bearer {TOKEN_PREFIX}secret")


async def test_an_incident_is_assembled_from_its_events(server: NatsServer, admin: Client) -> None:
    async with console_on(server, admin) as console:
        await add_camera(admin, "lobby")
        anna = await console.person("anna", cameras=["lobby"])
        began = incident(verification="pending")
        await say(admin, began)
        (card,) = await until_listed(anna, 1)
        assert (card["incident"], card["end"], card["verification"]) == ("crowd.1", None, "pending")
        ended = msgspec.structs.replace(began, state="end", end=ago(30), time=ago(30))
        await say(admin, ended, verdict("confirmed", reason="three people wait"))

        async def judged() -> Any:
            (card,) = await until_listed(anna, 1)
            return card if card["end"] and card["verification"] == "confirmed" else None

        card = await until_so(judged)
        assert (card["reason"], card["confidence"], card["reviewed"]) == ("three people wait", 0.8, None)
        details = (await anna.get(f"incidents/{card['id']}")).json()
        assert details["card"] == card and details["verdict"]["model"] == "m"
        assert details["segments"][0]["seq"] == 7 and details["objects"][0]["label"] == "person"


async def test_events_from_before_the_start_are_read(server: NatsServer, admin: Client) -> None:
    """More than one read returns, of two kinds, with invalid messages among them."""
    incidents = [incident(f"i.{n}", start=ago(1000 - n)) for n in range(300)]
    await asyncio.gather(*(say(admin, event) for event in incidents))
    await admin.jetstream().publish("events.incidents.lobby", b'{"camera": "lobby"}', headers={"Nats-Msg-Id": "bad"})
    await say(admin, verdict("rejected", "i.299"))
    async with console_on(server, admin) as console:
        await add_camera(admin, "lobby")
        anna = await console.person("anna", sees_all=True)

        async def all_read() -> Any:
            return (found := (await anna.get("incidents/count")).json())["complete"] and found

        assert (await until_so(all_read))["count"] == 300
        found: list[str] = []
        request: dict[str, Any] = {"limit": 70}
        while True:
            page = (await anna.get("incidents", params=request)).json()
            found += [card["incident"] for card in page["incidents"]]
            if not page["next"]:
                break
            request["cursor"] = page["next"]
        assert found == [f"i.{n}" for n in reversed(range(300))]
        assert await listed(anna, verdict="rejected") == ["i.299"]


@pytest.mark.slow
async def test_the_newest_are_read_first(server: NatsServer, admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps go back in time, each up to the start of the previous one; a failed read is in the log."""
    monkeypatch.setattr(event_reader, "_BACK_S", (0.1, 0.5, 1.0, 3600.0))
    for part in range(4):
        await say(admin, *(incident(f"i.{part}.{n}", start=ago(100 - part)) for n in range(20)))
        await asyncio.sleep(0.3)
    async with console_on(server, admin) as console:
        anna = await console.person("anna", sees_all=True)
        await until_listed(anna, 50)
        assert (await anna.get("incidents/count")).json()["count"] == 80
        unheard = incident("unheard", start=ago(5))
        await admin.jetstream().publish("events.incidents.lobby", encode(unheard), headers={"Nats-Msg-Id": "unheard"})
        assert (await until_so(lambda: listed(anna, incident="unheard"))) == ["unheard"]


async def test_a_person_learns_nothing_of_a_hidden_camera(server: NatsServer, admin: Client) -> None:
    async with console_on(server, admin) as console:
        for camera in ("lobby", "vault"):
            await add_camera(admin, camera)
        anna = await console.person("anna", sees_all=True)
        eve = await console.person("eve", cameras=["lobby"])
        await say(admin, incident("open", "lobby"), incident("secret", "vault"))
        await say(admin, CameraStatus(camera="vault", time=ago(9), state="offline", reason="r", url="u", ingest="i"))
        cards = {card["incident"]: card for card in await until_listed(anna, 2)}
        secret = cards["secret"]["id"]
        assert await listed(eve) == ["open"] and await listed(eve, incident="secret") == []
        assert (await eve.get("incidents/count")).json()["count"] == 1
        assert [row["camera"] for row in (await eve.get("timeline")).json()["rows"]] == ["lobby"]
        refusals = [
            ("GET", f"incidents/{secret}", f"incidents/{'0' * 32}"),
            ("PUT", f"incidents/{secret}/reviewed", f"incidents/{'0' * 32}/reviewed"),
            ("DELETE", f"incidents/{secret}/reviewed", f"incidents/{'0' * 32}/reviewed"),
            ("GET", "incidents?camera=vault", "incidents?camera=cellar"),
            ("GET", "timeline?camera=vault", "timeline?camera=cellar"),
            ("GET", "incidents/count?camera=lobby,vault", "incidents/count?camera=lobby,cellar"),
        ]
        for method, hidden, missing in refusals:
            one, other = await eve.request(method, hidden), await eve.request(method, missing)
            assert one.status_code == other.status_code == 404
            assert one.text.replace("vault", "cellar").replace(secret, "0" * 32) == other.text
        assert (await console.nobody().get("incidents")).status_code == 401
        assert (await anna.get(f"incidents/{secret}")).status_code == 200


async def test_incidents_are_filtered(server: NatsServer, admin: Client) -> None:
    async with console_on(server, admin) as console:
        for camera in ("lobby", "gate"):
            await add_camera(admin, camera)
        anna = await console.person("anna", sees_all=True)
        over = ago(400)
        await say(
            admin,
            incident("a", start=ago(500), state="end", end=over, time=over, severity="info"),
            incident("b", "gate", rule="fence", severity="critical", verification="unverified"),
            incident("c", start=ago(50), verification="pending", not_found=True),
        )
        await until_listed(anna, 3)
        for requests, expected in (
            ({"camera": "lobby"}, "ca"),
            ({"camera": "lobby, gate"}, "cba"),
            ({"rule": "fence"}, "b"),
            ({"severity": "info,critical"}, "ba"),
            ({"verdict": "none"}, "a"),
            ({"verdict": "unverified,not_found"}, "cb"),
            ({"verdict": "pending"}, ""),
            ({"state": "lasting"}, "cb"),
            ({"state": "ended"}, "a"),
            ({"since": ago(400).isoformat()}, "cba"),
            ({"since": ago(399).isoformat()}, "cb"),
            ({"until": ago(60).isoformat()}, "a"),
            ({"until": ago(59).isoformat(), "severity": "critical"}, "b"),
            ({"incident": "b"}, "b"),
            ({"alert": True}, ""),
            ({"reviewed": True}, ""),
            ({"reviewed": False}, "cba"),
        ):
            assert "".join(await listed(anna, **requests)) == expected, requests
        for wrong in ({"severity": "fatal"}, {"verdict": "maybe"}, {"state": "x"}, {"since": "noon"}, {"limit": 501}):
            answer = await anna.get("incidents", params=wrong)
            assert answer.status_code == 400 and answer.json()["error"], wrong
        assert (await anna.get("incidents", params={"cursor": "x"})).status_code == 400


async def test_each_person_has_their_own_marks(server: NatsServer, admin: Client) -> None:
    async with console_on(server, admin) as console:
        await add_camera(admin, "lobby")
        anna, ben = await console.person("anna", sees_all=True), await console.person("ben", cameras=["lobby"])
        await say(admin, incident("a"), incident("b"))
        id = next(card["id"] for card in await until_listed(anna, 2) if card["incident"] == "a")
        assert (await anna.put(f"incidents/{id}/reviewed")).status_code == 204
        assert (await anna.put(f"incidents/{id}/reviewed")).status_code == 204
        assert await listed(anna, reviewed=True) == ["a"] and await listed(ben, reviewed=True) == []
        assert (await anna.get("incidents/count")).json() == {"count": 2, "unreviewed": 1, "complete": True}
        assert dt.datetime.fromisoformat((await anna.get(f"incidents/{id}")).json()["card"]["reviewed"]) >= now()
        assert [row["buckets"] for row in (await anna.get("timeline", params={"parts": 1})).json()["rows"]] == [
            [{"n": 0, "count": 2, "unreviewed": 1, "severity": "warning"}]
        ]
        assert (await anna.delete(f"incidents/{id}/reviewed")).status_code == 204
        assert (await anna.delete(f"incidents/{id}/reviewed")).status_code == 204
        assert await listed(anna, reviewed=True) == []
        program = await token(console, "ben")
        assert (await program.put(f"incidents/{id}/reviewed")).status_code == 403
        assert await listed(program, reviewed=False) == await listed(ben)
    stored = [await admin.jetstream().get_msg(names.AUDIT, n) for n in (3, 4)]
    assert [json.loads(message.data or b"")["action"] for message in stored] == [
        "incident.review",
        "incident.review-again",
    ]


async def test_a_timeline_has_incidents_and_gaps(server: NatsServer, admin: Client) -> None:
    async with console_on(server, admin) as console:
        for camera in ("cellar", "gate", "lobby"):
            await add_camera(admin, camera)
        anna = await console.person("anna", sees_all=True)
        await say(admin, incident("a", start=ago(95)), incident("b", start=ago(92), severity="critical"))
        await say(admin, incident("c", start=ago(5)), incident("before", start=ago(300), state="update", time=ago(50)))
        for seconds, state in ((80, "offline"), (40, "online"), (10, "offline")):
            event = CameraStatus(camera="gate", time=ago(seconds), state=state, reason="refused", url="u", ingest="i")
            await say(admin, event)
        await until_listed(anna, 4)
        when = {"since": ago(100).isoformat(), "until": now().isoformat()}

        async def with_gaps() -> Any:
            found = (await anna.get("timeline", params={**when, "parts": 10})).json()
            return found if found["rows"][0]["camera"] == "gate" and len(found["rows"][0]["gaps"]) == 2 else None

        found = await until_so(with_gaps)
        assert [row["camera"] for row in found["rows"]] == ["gate", "lobby"]
        gate, lobby = found["rows"]
        assert gate["buckets"] == [] and [gap["until"] is None for gap in gate["gaps"]] == [False, True]
        assert [(b["n"], b["count"], b["severity"]) for b in lobby["buckets"]] == [
            (0, 2, "critical"),
            (9, 1, "warning"),
        ]
        first = (await anna.get("timeline", params={**when, "limit": 1})).json()
        assert [row["camera"] for row in first["rows"]] == ["gate"] and first["next"] == "gate"
        second = (await anna.get("timeline", params={**when, "limit": 1, "cursor": "gate"})).json()
        assert [row["camera"] for row in second["rows"]] == ["lobby"] and second["next"] is None
        requests = (await anna.get("timeline", params={**when, "camera": "cellar"})).json()
        assert requests["rows"] == [{"camera": "cellar", "buckets": [], "gaps": []}]
        assert (
            await anna.get("timeline", params={"since": now().isoformat(), "until": when["since"]})
        ).status_code == 400


async def test_an_incident_has_its_paths_and_deferred_segments(server: NatsServer, admin: Client) -> None:
    async with console_on(server, admin) as console:
        await add_camera(admin, "lobby")
        anna = await console.person("anna", cameras=["lobby"])
        start = dt.datetime.now(dt.UTC).replace(microsecond=0)
        theirs = [IncidentObject(id="e.1", label="person", score=0.9, box=(0.1, 0.2, 0.3, 0.8))]
        end = start + dt.timedelta(seconds=4)
        await say(admin, incident(start=start, state="end", end=end, time=end, objects=theirs))
        (card,) = await until_listed(anna, 1)
        for n in range(6):
            less = Quality(fps=1, wanted=5, cause="backlog") if n < 4 else None
            await say(admin, detections(n, start, quality=less), ids=[f"cv/{n}"])
        await say(admin, revision(0, start), revision(1, start, lost="expired"), revision(2, start, lost="expired"))
        await say(admin, followed(start))
        details = (await anna.get(f"incidents/{card['id']}")).json()
        assert [(path["id"], len(path["points"])) for path in details["paths"]] == [("e.1", 3)]
        assert (details["width"], details["height"]) == (1280, 720)
        assert [(d["outcome"], d["lost"], d["fps"], d["wanted"]) for d in details["deferred"]] == [
            ("done", None, 1, 5),
            ("lost", "expired", 1, 5),
            ("waiting", None, 1, 5),
        ]
        lost = details["deferred"][1]
        assert dt.datetime.fromisoformat(lost["until"]) - dt.datetime.fromisoformat(lost["since"]) == dt.timedelta(
            seconds=2
        )


@pytest.mark.slow
async def test_an_incident_has_its_picture_and_its_clip(
    server: NatsServer, admin: Client, pieces: list[Piece], source: list[np.ndarray]
) -> None:
    """This holds for a removed camera too, and not for people who may not see it."""
    seqs = await publish(admin, pieces, "lobby")
    start = pieces[0].segment.start + dt.timedelta(seconds=4)
    shows = Snapshot(stream="MEDIA", seq=seqs[5], time=start)
    last = start + dt.timedelta(seconds=1)
    async with console_on(server, admin) as console:
        anna, eve = await console.person("anna", cameras=["lobby"]), await console.person("eve")
        await say(admin, incident("a", start=start, state="end", end=last, time=last, snapshot=shows, rule="über/../x"))
        (card,) = await until_listed(anna, 1)
        assert card["video"] is True
        picture = await anna.get(f"incidents/{card['id']}/picture", params={"width": 160, "download": True})
        assert number(pixels(picture.content), source, 100) == 100
        assert picture.headers["content-disposition"].endswith(f'{start:%Y%m%dT%H%M%SZ}.jpg"')
        assert "/" not in picture.headers["content-disposition"]
        clip = await anna.get(f"incidents/{card['id']}/clip", params={"download": True})
        assert clip.headers["content-disposition"].startswith('attachment; filename="lobby-')
        assert len(frames(clip.content)) == 250, "it has all that there is within five seconds"
        since, until = (dt.datetime.fromisoformat(clip.headers[name]) for name in ("x-from", "x-to"))
        assert since <= start and last <= until
        for part in ("picture", "clip"):
            hidden = await eve.get(f"incidents/{card['id']}/{part}")
            absent = await eve.get(f"incidents/{'0' * 32}/{part}")
            assert hidden.status_code == absent.status_code == 404
            assert hidden.text.replace(card["id"], "0" * 32) == absent.text
        await admin.jetstream().purge_stream("MEDIA")
        await say(admin, incident("b", start=start - dt.timedelta(seconds=1), snapshot=shows))
        missing = next(card for card in await until_listed(anna, 2) if card["incident"] == "b")
        answer = await anna.get(f"incidents/{missing['id']}/clip")
        assert answer.status_code == 404 and "no video" in answer.json()["error"]


@pytest.mark.slow
async def test_the_picture_of_an_alert_outlives_its_video(
    server: NatsServer, admin: Client, pieces: list[Piece], source: list[np.ndarray]
) -> None:
    seqs = await publish(admin, pieces)
    alert = alert_of(pieces[4], seqs[4])
    async with console_on(server, admin) as console:
        anna, eve = await console.person("anna", cameras=["cam"]), await console.person("eve")
        async with keeping(server):
            await alerted(admin, alert)
            await all_handled(admin)
        await admin.jetstream().purge_stream("MEDIA")
        (card,) = await until_listed(anna, 1)
        at = round((alert.snapshot.time - pieces[0].segment.start).total_seconds() * 25)
        for width in (160, 4096):
            picture = await anna.get(f"incidents/{card['id']}/picture", params={"width": width})
            assert pixels(picture.content).shape[1] == min(width, 320)
            assert number(pixels(picture.content), source, at) == at
        assert abs((dt.datetime.fromisoformat(picture.headers["x-time"]) - alert.snapshot.time).total_seconds()) < 0.04
        assert (await eve.get(f"incidents/{card['id']}/picture")).status_code == 404
        assert await pictures.erase(admin.jetstream(), "cam") == 1
        missing = await anna.get(f"incidents/{card['id']}/picture", params={"width": 200})
        assert missing.status_code == 404 and "there is no video" in missing.json()["error"]


def detections(n: int, start: dt.datetime, **fields: Any) -> Detections:
    begin = start + dt.timedelta(seconds=n)
    return Detections(
        camera="lobby",
        segment=SegmentRef(stream="MEDIA", seq=n + 1, epoch="e", n=n),
        start=begin,
        duration=1.0,
        model="m",
        frames=[Frame(time=begin, objects=[])],
        timing=Timing(queued_ms=1, decode_ms=1, infer_ms=1),
        **fields,
    )


def revision(n: int, start: dt.datetime, **fields: Any) -> DetectionsRevision:
    first = detections(n, start)
    same = {field: getattr(first, field) for field in first.__struct_fields__}
    return DetectionsRevision(**same, revises=f"cv/{n}", **fields)
