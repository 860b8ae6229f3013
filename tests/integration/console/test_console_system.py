"""The page System: streams, dead letters, checks, versions and the audit log, over HTTP and a real server."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.aio.client import Client

from services.console.system import findings
from services.console.system.states import ConsumerState, StreamState
from services.console.system.stream_pages import newest
from services.ingest.cutting.piece import Piece
from shared import bus
from shared.bus import requests
from shared.bus.direct import Stored
from shared.contract import deadletters, events, names
from shared.contract.events import CameraStatus
from shared.contract.segment import to_headers
from shared.contract.work import stats
from shared.contract.work.stats import WorkerStats
from shared.runtime import problems
from shared.runtime.problems import Problem
from tests.support.console.people import add_camera, console_on
from tests.support.video.video_world import path, pieces, pixels
from tests.support.waiting import patience_s
from tidegate.local.server import NatsServer

__all__ = ["path", "pieces"]


async def dead_letter(
    admin: Client, subject: str, payload: bytes, *, service: str = "cv", stream: str = "MEDIA"
) -> int:
    """A dead letter of a message that was in a stream."""
    js = admin.jetstream()
    seq = (await js.publish(subject, payload)).seq
    headers = deadletters.dead_letter_headers(
        service, "no keyframe", stream=stream, seq=seq, subject=subject, deliveries=5, headers={}
    )
    return (await js.publish(f"dlq.{service}", payload, headers=headers)).seq


async def test_streams_have_their_sizes_and_consumers(server: NatsServer, admin: Client) -> None:
    async with console_on(server, admin) as console:
        anna = await console.person("anna", sees_all=True)
        for n in range(3):
            await admin.jetstream().publish("media.lobby", b"x" * 1000, headers={"Nats-Msg-Id": str(n)})
        answer = (await anna.get("streams")).json()
        streams = {s["name"]: s for s in answer["streams"]}
        media = streams["MEDIA"]
        assert media["messages"] == 3 and media["bytes"] > 3000 and media["max_bytes"] == 10 * 1024**3
        assert media["oldest"] <= media["newest"] and 0 < media["share_full"] < 0.001
        cv = {c["name"]: c for c in media["consumers"]}["cv"]
        assert (cv["pending"], cv["in_flight"], cv["ack_floor"], cv["waiting_pulls"]) == (3, 0, 0, 0)
        assert streams["BACKFILL"]["error"] is None, "it is one of those that a viewer may ask for"
        assert "AUDIT" not in streams
        root = await console.person("root", "admin", sees_all=True)
        assert "AUDIT" in {s["name"] for s in (await root.get("streams")).json()["streams"]}
        eve = await console.person("eve", "admin", cameras=["lobby"])
        assert (await eve.get("streams")).status_code == 403


async def test_dead_letters_are_read_newest_first_by_page(server: NatsServer, admin: Client) -> None:
    async with console_on(server, admin) as console:
        root = await console.person("root", "admin", sees_all=True)
        seqs = [await dead_letter(admin, "media.lobby", b"x%d" % n) for n in range(7)]
        await dead_letter(admin, "events.alerts.lobby", b"{}", service="webhook", stream="EVENTS")
        query: dict[str, Any] = {"limit": 3, "service": "cv"}
        found: list[int] = []
        while True:
            page = (await root.get("letters", params=query)).json()
            assert len(page["letters"]) <= 3
            found += [letter["seq"] for letter in page["letters"]]
            if page["next"] is None:
                break
            query["cursor"] = page["next"]
        assert found == seqs[::-1]
        letter = page["letters"][-1]
        assert (letter["service"], letter["reason"], letter["camera"]) == ("cv", "no keyframe", "lobby")
        assert letter["can_replay"] and letter["bytes"] == 2


async def test_a_dead_letter_is_audited_before_its_replay(server: NatsServer, admin: Client) -> None:
    async with console_on(server, admin) as console:
        root = await console.person("root", "admin", sees_all=True)
        seq = await dead_letter(admin, "media.lobby", b"video")
        whole = (await root.get(f"letters/{seq}")).json()
        assert whole["is_video"] and whole["text"] is None
        answer = await root.post(f"letters/{seq}/replay")
        assert answer.status_code == 200 and answer.json()["stream"] == "MEDIA", answer.text
        again = await admin.jetstream().get_msg("MEDIA", answer.json()["stream_seq"])
        assert (again.subject, again.data, (again.headers or {})["Replay-For"]) == ("media.lobby", b"video", "cv")
        assert (await root.get(f"letters/{seq}")).json() == {"error": f"there is no letter {seq}"}
        reply = (await root.get("audit", params={"action": "letter.*"})).json()["changes"]
        assert [(s["action"], s["camera"], s["details"]["letter"]) for s in reply] == [("letter.replay", "lobby", seq)]


@pytest.mark.slow
async def test_a_dead_lettered_segment_is_shown(server: NatsServer, admin: Client, pieces: list[Piece]) -> None:
    async with console_on(server, admin) as console:
        root = await console.person("root", "admin", sees_all=True)
        js = admin.jetstream()
        headers = to_headers(pieces[0].segment)
        seq = (await js.publish("media.cam", pieces[0].payload, headers=headers)).seq
        dead = deadletters.dead_letter_headers(
            "cv", "its model is gone", stream="MEDIA", seq=seq, subject="media.cam", deliveries=5, headers=headers
        )
        letter = (await js.publish("dlq.cv", pieces[0].payload, headers=dead)).seq
        shown = await root.get(f"letters/{letter}/picture", params={"width": 160})
        assert shown.headers["content-type"] == "image/jpeg" and pixels(shown.content).shape[1] == 160
        other = await dead_letter(admin, "events.alerts.lobby", b"{}", service="webhook", stream="EVENTS")
        assert (await root.get(f"letters/{other}/picture")).status_code == 404
        damaged = await dead_letter(admin, "media.lobby", b"no video at all")
        refused = await root.get(f"letters/{damaged}/picture")
        assert refused.status_code == 502 and "there is no picture" in refused.json()["error"]


async def test_a_dead_letter_is_deleted_once(server: NatsServer, admin: Client) -> None:
    async with console_on(server, admin) as console:
        root = await console.person("root", "admin", sees_all=True)
        seq = await dead_letter(
            admin, "events.alerts.lobby", b'{"camera": "lobby"}', service="webhook", stream="EVENTS"
        )
        assert (await root.get(f"letters/{seq}")).json()["text"] == '{"camera": "lobby"}'
        assert (await root.delete(f"letters/{seq}")).status_code == 204
        assert (await root.delete(f"letters/{seq}")).status_code == 404


async def test_a_forged_dead_letter_is_not_replayed(server: NatsServer, admin: Client) -> None:
    """A service's password leads to its own work alone, also when the admin replays its dead letters."""
    async with console_on(server, admin) as console:
        root = await console.person("root", "admin", sees_all=True)
        headers = {"Dlq-Reason": "x", "Dlq-Stream": "EVENTS", "Dlq-Seq": "1", "Dlq-Subject": "events.alerts.lobby"}
        seq = (await admin.jetstream().publish("dlq.cv", b"{}", headers=headers)).seq
        answer = await root.post(f"letters/{seq}/replay")
        assert answer.status_code == 409 and "change it" in answer.json()["error"]
        assert (await root.get(f"letters/{seq}")).status_code == 200, "it is still there"


async def test_dead_letters_of_hidden_cameras_are_missing(server: NatsServer, admin: Client) -> None:
    async with console_on(server, admin) as console:
        eve = await console.person("eve", "admin", cameras=["lobby"])
        hidden, shown = await dead_letter(admin, "media.vault", b"v"), await dead_letter(admin, "media.lobby", b"l")
        advised = (
            await admin.jetstream().publish(
                "$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.MEDIA.cv", b'{"stream_seq": 999, "deliveries": 5}'
            )
        ).seq
        assert [x["seq"] for x in (await eve.get("letters")).json()["letters"]] == [shown]
        for seq in (hidden, advised, 4711):
            for answer in (
                await eve.get(f"letters/{seq}"),
                await eve.post(f"letters/{seq}/replay"),
                await eve.delete(f"letters/{seq}"),
            ):
                assert (answer.status_code, answer.json()) == (404, {"error": f"there is no letter {seq}"})
        reply = (await eve.get("audit")).json()["changes"]
        assert reply == [], "what others did to what they do not see, and to no camera, is not told either"


async def test_the_audit_is_read_by_person_action_and_time(server: NatsServer, admin: Client) -> None:
    async with console_on(server, admin) as console:
        root = await console.person("root", "admin", sees_all=True)
        anna = await console.person("anna")
        began = dt.datetime.now(dt.UTC)
        await anna.post("me/password", json={"new": "correct horse battery"})
        every = (await root.get("audit")).json()
        assert [(c["person"], c["action"]) for c in every["changes"]] == [
            ("anna", "person.password"),
            ("anna", "session.begin"),
            ("root", "session.begin"),
        ]
        assert "horse" not in json.dumps(every)

        async def found(**query: Any) -> list[tuple[str, str]]:
            answer = (await root.get("audit", params=query)).json()
            return [(c["person"], c["action"]) for c in answer["changes"]]

        assert await found(person="root") == [("root", "session.begin")]
        assert await found(action="person.password") == await found(action="person.*") == [("anna", "person.password")]
        assert await found(since=began.isoformat()) == [("anna", "person.password")]
        first = (await root.get("audit", params={"limit": 2})).json()
        assert await found(limit=2, cursor=first["next"]) == [("root", "session.begin")]
        for bad in (
            {"since": "yesterday"},
            {"since": "2026-01-01"},
            {"action": "x y"},
            {"action": ">"},
            {"limit": 501},
        ):
            answer = await root.get("audit", params=bad)
            assert answer.status_code == 400 and answer.json()["error"], bad


async def test_the_doctor_names_faults(server: NatsServer, admin: Client) -> None:
    async with console_on(server, admin) as console:
        for id in ("lobby", "vault"):
            await add_camera(admin, id)
        status = CameraStatus(
            camera="vault",
            time=dt.datetime.now(dt.UTC),
            state="offline",
            reason="no route to host",
            url="rtsp://10.0.0.8/",
            ingest="i1",
        )
        await admin.jetstream().publish("events.cameras.vault", events.encode(status))
        await admin.jetstream().delete_consumer("MEDIA", "cv")
        await dead_letter(admin, "media.lobby", b"v")
        root = await console.person("root", "admin", sees_all=True)
        answer = (await root.get("doctor")).json()
        found = {f["what"]: f for f in answer["findings"]}
        assert answer["level"] == "bad"
        assert (found["consumer cv"]["level"], found["consumer cv"]["remedy"]) == ("bad", "tidegate setup")
        assert found["camera vault"]["level"] == "bad" and "no route to host" in found["camera vault"]["found"]
        assert found["camera lobby"]["level"] == "warn"
        assert found["dead letters"]["level"] == "warn"
        assert found["consumer embed"]["level"] == "ok" and "never run" in found["consumer embed"]["found"]
        assert {found[f"NATS, for {whom}"]["level"] for whom in ("itself", "viewers", "operators", "admins")} == {"ok"}
        assert found["bucket credentials"]["level"] == "ok"
        ben = await console.person("ben", "operator", cameras=["lobby"])
        reply = (await ben.get("doctor")).json()["findings"]
        assert [f["what"] for f in reply if not f["what"].startswith(("NATS", "bucket"))] == ["camera lobby"]


async def test_a_dead_process_of_this_machine_is_named_to_those_who_see_all(
    server: NatsServer, admin: Client, tmp_path: Path
) -> None:
    path = tmp_path / problems.FILE
    now = dt.datetime.now(dt.UTC)
    problems.write(
        path,
        [
            Problem(service="cv", replica="cv-0", since=now, sentence="CUDA is out of memory", kind="died"),
            Problem(service="vlm", replica="VLM_URL", since=now, sentence="nothing listens there", kind="not ready"),
        ],
    )
    async with console_on(server, admin, console_problems=str(path)) as console:
        root, ben = await console.person("root", "admin", sees_all=True), await console.person("ben", cameras=["lobby"])
        found = {f["what"]: f for f in (await root.get("doctor")).json()["findings"]}
        assert (found["cv-0"]["level"], found["cv-0"]["found"]) == ("bad", "It died: CUDA is out of memory")
        assert found["VLM_URL"]["level"] == "warn" and "is not ready" in found["VLM_URL"]["found"]
        needs = (await root.get("now")).json()["attention"]
        processes = [(a["service"], a["severity"], a["reason"]) for a in needs if a["kind"] == "process"]
        assert ("cv-0", "critical", "died: CUDA is out of memory") in processes and len(processes) == 2
        assert "cv-0" not in (await ben.get("doctor")).text + (await ben.get("now")).text


async def test_versions_cover_console_server_and_services(server: NatsServer, admin: Client) -> None:
    async with console_on(server, admin) as console:
        anna = await console.person("anna")
        cv, search = [await bus.connect(server.settings(name), name) for name in ("cv", "search")]
        try:
            beat = WorkerStats(
                service="cv",
                replica="r1",
                pid=1,
                state="ready",
                model="ssd",
                uptime_s=7,
                **dict.fromkeys(("in_flight", "processed", "failed", "items", "busy_s", "working_s"), 0),
            )
            await cv.publish(names.stats("cv", "r2"), stats.encode(beat))
            await cv.publish(names.stats("cv", "r1"), stats.encode(beat))
            await cv.flush()

            async def nothing(payload: bytes) -> tuple[bytes, dict[str, str]]:
                return payload, {}

            answering = await requests.serve(search, names.micro("search"), "finds", {"find": (names.FIND, nothing)})
            async with asyncio.timeout(patience_s()):
                while len((found := (await anna.get("versions")).json())["services"]) < 3:
                    await asyncio.sleep(0.1)
            await answering.stop()
        finally:
            await cv.close()
            await search.close()
        assert found["console"] and found["server"].startswith("2.")
        assert [(s["service"], s["replica"], s["model"], s["version"]) for s in found["services"]] == [
            ("cv", "r1", "ssd", None),
            ("cv", "r2", "ssd", None),
            ("search", answering.id, None, found["console"]),
        ]


@pytest.mark.parametrize("most", [3, 50])
async def test_pages_are_complete_despite_gaps(server: NatsServer, admin: Client, most: int) -> None:
    """Pages are complete and in order, despite deletions in between and for any size of messages."""
    js = admin.jetstream()
    await asyncio.gather(*(js.publish("dlq.cv", b"x" * (200_000 if n % 50 == 0 else 1)) for n in range(600)))
    for seq in [*range(10, 500), 550, 600]:
        await js.delete_msg("DLQ", seq)
    left = [seq for seq in range(600, 0, -1) if not (10 <= seq < 500 or seq in (550, 600))]

    async def keep(stored: Stored) -> int | None:
        return stored.seq if stored.seq % 3 else None

    found: list[int] = []
    before = 0
    while True:
        page = await newest(admin, "DLQ", ">", keep, limit=most, before=before)
        assert len(page.found) <= most
        found += page.found
        if not page.next:
            break
        before = page.next
    assert found == [seq for seq in left if seq % 3]


def _consumer(**fields: Any) -> ConsumerState:
    names = ("pending", "in_flight", "ack_floor", "delivered", "redelivered", "waiting_pulls")
    some: dict[str, Any] = dict.fromkeys(names, 0)
    return ConsumerState(
        **{"name": "cv", "service": "cv", "max_in_flight": 10, "last_delivery": None, **some, **fields}
    )


NOW = dt.datetime(2026, 11, 29, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("fields", "level"),
    [
        ({}, "ok"),
        ({"pending": 5, "waiting_pulls": 1}, "ok"),
        ({"pending": 5, "in_flight": 1}, "ok"),
        ({"pending": 5, "in_flight": 10}, "warn"),
        ({"pending": 5, "delivered": 7, "last_delivery": "2026-11-28T23:59:30+00:00"}, "warn"),
        ({"pending": 5, "delivered": 7, "last_delivery": "2026-11-28T23:50:00+00:00"}, "bad"),
        ({"pending": 5, "delivered": 7}, "warn"),
    ],
)
def test_work_without_a_consumer_is_reported(fields: dict[str, Any], level: str) -> None:
    assert [f.level for f in findings.consumer(_consumer(**fields), NOW)] == [level]


@given(share=st.floats(0, 1), refuses=st.booleans())
def test_a_stream_that_will_refuse_is_reported_before_it_is_full(share: float, refuses: bool) -> None:
    state = StreamState(name="USAGE", subjects=["usage.*"], share_full=share, refuses=refuses)
    (found,) = findings.stream(state, ["usage.*"])
    assert (found.level != "ok") == (refuses and share >= 0.8)
    assert (found.remedy is None) == (found.level == "ok")


def test_a_full_stream_that_keeps_less_than_configured_is_reported() -> None:
    state = StreamState(
        name="USAGE",
        subjects=["usage.*"],
        share_full=0.99,
        max_age_s=7200,
        oldest="2026-11-28T23:00:00+00:00",
        newest="2026-11-29T00:00:00+00:00",
    )
    assert [f.level for f in findings.stream(state, ["usage.*"])] == ["warn"]
