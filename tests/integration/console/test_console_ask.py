"""Questions to a model by the console: waiting, streamed answers, and nothing of hidden cameras."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
from aiohttp import web
from nats.aio.client import Client

from services.console.ask.answer_stream import MOST_AT_ONCE
from shared import bus
from shared.bus import requests
from shared.contract import events, names
from shared.contract.events import Answer, Seen, Summary, Timing, Usage
from shared.contract.segment import rfc3339
from tests.support.console.ask import MAN, world
from tests.support.console.people import add_camera, console_on
from tests.support.waiting import patience_s, until
from tests.support.worlds.jobs_world import fronting, waiting
from tidegate.local.server import NatsServer

Line = tuple[str, dict[str, Any]]


async def lines(answer: httpx.Response) -> AsyncIterator[Line]:
    """(event, data) of server-sent events as they come."""
    name = ""
    async for line in answer.aiter_lines():
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield name, json.loads(line.removeprefix("data: "))


async def reply_lines(client: httpx.AsyncClient, path: str = "ask", **request: Any) -> list[Line]:
    """All events but those of waiting."""
    own = {"question": "Who?"} if path == "ask" else {}
    async with client.stream("POST", path, json={**own, **request}) as answer:
        assert answer.status_code == 200, await answer.aread()
        assert answer.headers["content-type"].startswith("text/event-stream")
        return [line async for line in lines(answer) if line[0] != "waiting"]


async def test_an_answer_has_its_frames(server: NatsServer, admin: Client) -> None:
    async with world(server, admin) as (console, _):
        anna = await console.person("anna", "operator", cameras=["lobby", "street"])
        answer_of = await reply_lines(anna, cameras=["lobby", "street"])
        assert [name for name, _ in answer_of] == ["answer", "answer", "done"]
        assert {data["camera"] for _, data in answer_of[:2]} == {"lobby", "street"}
        answer = next(data for _, data in answer_of if data["camera"] == "lobby")
        assert (answer["kind"], answer["question"], answer["text"]) == ("answer", "Who?", "A man with a bag.")
        assert answer["model"] == "fake" and len(answer["used"]) == 1
        first = answer["frames"][0]
        assert first["used"] and [frame["used"] for frame in answer["frames"][1:]] == [False] * (
            len(answer["frames"]) - 1
        )
        assert first["picture"].startswith("cameras/lobby/picture?at=20")
        recent = (await anna.get("ask/recent")).json()["answers"]
        assert answer in recent and len(recent) == 2
        assert (await (await console.person("eve", cameras=["vault"])).get("ask/recent")).json() == {"answers": []}


async def test_an_unanswerable_question_has_a_reason(server: NatsServer, admin: Client) -> None:
    async with world(server, admin) as (console, _):
        anna = await console.person("anna", "operator", sees_all=True)
        await add_camera(admin, "dark")
        assert await reply_lines(anna, cameras=["dark"]) == [
            ("error", {"camera": "dark", "error": (await last_reason(admin, "answers", "dark"))}),
            ("done", {}),
        ]
        (failed, _) = await reply_lines(anna, "summarize", cameras=["dark"])
        assert failed[0] == "error" and "VLM_CAPTION_EVERY_S" in failed[1]["error"]


async def last_reason(admin: Client, kind: str, camera: str) -> str:
    message = await admin.jetstream().get_last_msg(names.EVENTS, names.event(kind, camera))
    return str(json.loads(message.data or b"")["reason"])


async def test_a_missing_front_is_reported_with_the_remedy(server: NatsServer, admin: Client) -> None:
    await add_camera(admin, "lobby")
    async with console_on(server, admin) as console:
        anna = await console.person("anna", "operator", sees_all=True)
        ((name, data), _) = await reply_lines(anna, cameras=["lobby"])
        assert name == "error" and data["camera"] == "lobby" and "tidegate up --vlm" in data["error"]


async def test_a_waiting_question_names_what_it_waits_for(server: NatsServer, admin: Client) -> None:
    thought = asyncio.Event()

    async def think(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        await thought.wait()
        return await MAN(request, body)

    async with world(server, admin) as (console, openai):
        openai.then = think
        anna = await console.person("anna", "operator", sees_all=True)
        async with anna.stream("POST", "ask", json={"cameras": ["lobby"], "question": "Who?"}) as answer:
            seen = []
            async for name, data in lines(answer):
                seen.append(data)
                assert name == "waiting"
                if data["ready"] and data["jobs"]:
                    break
        thought.set()
        assert seen[0]["waited_s"] == 0 and [s["waited_s"] for s in seen] == sorted(s["waited_s"] for s in seen)


async def test_a_question_ends_with_its_browser(server: NatsServer, admin: Client) -> None:
    await add_camera(admin, "lobby")
    async with fronting(server), console_on(server, admin) as console:
        anna = await console.person("anna", "operator", sees_all=True)
        request = {"cameras": ["lobby"], "question": "Who?", "wait_s": 600}
        before = going_on()
        for _ in range(MOST_AT_ONCE + 1):
            async with anna.stream("POST", "ask", json=request) as answer:
                assert answer.status_code == 200, await answer.aread()
                heard = lines(answer)
                assert (await anext(heard))[0] == "waiting" and going_on() == before + 1
            await until(lambda: going_on() == before)


def going_on() -> int:
    """Questions that this process asks."""
    return sum("AnswerStream._ask" in repr(task.get_coro()) for task in asyncio.all_tasks())


async def test_each_person_has_a_limit_of_questions(server: NatsServer, admin: Client) -> None:
    for n in range(6):
        await add_camera(admin, f"c-{n}")
    async with fronting(server), console_on(server, admin) as console, contextlib.AsyncExitStack() as stack:
        anna = await console.person("anna", "operator", sees_all=True)
        bea = await console.person("bea", "operator", sees_all=True)
        request = {"cameras": [f"c-{n}" for n in range(6)], "question": "Who?", "wait_s": 600}
        heard = []

        async def begin(client: httpx.AsyncClient) -> None:
            answer = await stack.enter_async_context(client.stream("POST", "ask", json=request))
            assert answer.status_code == 200, await answer.aread()
            heard.append(lines(answer))  # a stream without a reference is closed
            assert (await anext(heard[-1]))[0] == "waiting"

        for _ in range(MOST_AT_ONCE):
            await begin(anna)
        async with anna.stream("POST", "ask", json=request) as refused:
            assert refused.status_code == 429
            assert "wait until one is answered" in json.loads(await refused.aread())["error"]
        await jobs(admin, MOST_AT_ONCE)
        await begin(bea)
        await jobs(admin, 2 * MOST_AT_ONCE)
        assert going_on() == (MOST_AT_ONCE + 1) * 6, "the rest of what they ask waits here, and not for a model"


async def jobs(admin: Client, count: int) -> None:
    """Wait until `count` questions wait for a model."""
    async with asyncio.timeout(patience_s()):
        while await waiting(admin, names.ASKS) < count:
            await asyncio.sleep(0.05)
    assert await waiting(admin, names.ASKS) == count


REFUSED: tuple[tuple[dict[str, Any], int, str], ...] = (
    ({"cameras": ["lobby", "vault"]}, 404, "there is no camera 'vault'"),
    ({"cameras": ["lobby", "cellar"]}, 404, "there is no camera 'cellar'"),
    ({"cameras": []}, 400, "cameras"),
    ({"cameras": ["lobby", "lobby"]}, 400, "named twice"),
    ({"question": ""}, 400, "question"),
    ({"question": "x" * 4001}, 400, "question"),
    ({"since": "2026-11-24T13:00:00Z", "until": "2026-11-24T13:00:00Z"}, 400, "since is not before"),
    ({"since": "2099-11-24T13:00:00Z"}, 400, "since is not before"),
    ({"until": "0001-01-01T00:00:00Z"}, 400, "no time of video"),
    ({"wait_s": 601}, 400, "wait_s"),
    ({"kind": "verify"}, 400, "kind"),
)


async def test_a_forbidden_question_reaches_no_model(server: NatsServer, admin: Client) -> None:
    for camera in ("lobby", "vault"):
        await add_camera(admin, camera)
    async with fronting(server), console_on(server, admin) as console:
        viewer = await console.person("vera", cameras=["lobby"])
        eve = await console.person("eve", "operator", cameras=["lobby"])
        good = {"cameras": ["lobby"], "question": "Who?"}
        for path, queries in (("ask", good), ("summarize", {"cameras": ["lobby"]})):
            answer = await viewer.post(path, json=queries)
            assert answer.status_code == 403 and "needs the role operator" in answer.json()["error"]
        for queries, status, says in REFUSED:
            answer = await eve.post("ask", json={**good, **queries})
            assert answer.status_code == status and says in answer.json()["error"], (queries, answer.text)
        assert await waiting(admin, names.ASKS) == 0


async def test_a_person_who_loses_a_camera_gets_no_answer_about_it(server: NatsServer, admin: Client) -> None:
    for camera in ("lobby", "street"):
        await add_camera(admin, camera)
    go = asyncio.Event()

    async def late(payload: bytes) -> tuple[bytes, dict[str, str]]:
        await go.wait()
        return events.encode(answer_of(json.loads(payload)["camera"])), {}

    client = await bus.connect(server.settings("vlm-front"), "vlm-front")
    front = await requests.serve(client, names.micro("vlm"), "late", {"ask": (names.ASK, late)}, waiting=set())
    async with console_on(server, admin) as console:
        eve = await console.person("eve", "operator", cameras=["lobby"])
        async with eve.stream("POST", "ask", json={"cameras": ["lobby"], "question": "Who?"}) as answer:
            reply_lines = lines(answer)
            assert (await anext(reply_lines))[0] == "waiting"
            await console.person("eve", "operator", cameras=["street"])
            go.set()
            heard = [line async for line in reply_lines if line[0] != "waiting"]
        assert heard == [("error", {"camera": "", "error": "there is no camera 'lobby'"}), ("done", {})]
    await front.stop()
    await client.close()


async def test_recent_answers_are_the_visible_ones_of_the_last_day(server: NatsServer, admin: Client) -> None:
    async with console_on(server, admin) as console:
        anna, eve = await console.person("anna", sees_all=True), await console.person("eve", cameras=["lobby"])
        assert (await eve.get("ask/recent")).json() == {"answers": []}
        for n, camera in enumerate(("lobby", "vault", "lobby")):
            await say(admin, answer_of(camera, job=f"a-{n}"))
        await say(admin, Summary(**common("vault", "s-1"), text="Quiet.", captions=3, parts=[]))
        await admin.jetstream().publish(names.event("answers", "lobby"), b"no event")
        await admin.jetstream().publish(names.event("answers", "lobby"), events.encode(answer_of("vault", job="lies")))

        async def seen(client: httpx.AsyncClient, **query: Any) -> list[str]:
            return [item["job"] for item in (await client.get("ask/recent", params=query)).json()["answers"]]

        async with asyncio.timeout(patience_s()):
            while await seen(anna) != ["s-1", "a-2", "a-1", "a-0"]:
                await asyncio.sleep(0.1)
        assert await seen(eve) == ["a-2", "a-0"] and await seen(eve, limit=1) == ["a-2"]
        assert (await eve.get("ask/recent", params={"limit": 501})).status_code == 400
        await say(admin, answer_of("lobby", job="a-9"))
        async with asyncio.timeout(patience_s()):
            while await seen(eve) != ["a-9", "a-2", "a-0"]:
                await asyncio.sleep(0.1)


def common(camera: str, job: str) -> dict[str, Any]:
    now = dt.datetime.now(dt.UTC)
    return {
        "camera": camera,
        "job": job,
        "start": now - dt.timedelta(minutes=1),
        "end": now,
        "model": "fake",
        "frames": [Seen(time=now, seq=1)],
        "timing": Timing(queued_ms=0, decode_ms=0, infer_ms=0),
        "usage": Usage(prompt_tokens=0, completion_tokens=0, first_token_ms=0),
    }


def answer_of(camera: str, job: str = "a") -> Answer:
    return Answer(**common(camera, job), question="Who?", text="A man.")


async def say(client: Client, event: Answer | Summary) -> None:
    headers = events.headers(event, id=f"test/{event.job}", source="/test")
    await client.jetstream().publish(events.subject(event), events.encode(event), headers=headers)


async def test_questions_are_in_the_audit_with_person_and_camera(server: NatsServer, admin: Client) -> None:
    await add_camera(admin, "lobby")
    async with console_on(server, admin) as console:
        anna = await console.person("anna", "operator", sees_all=True)
        since = rfc3339(dt.datetime.now(dt.UTC) - dt.timedelta(minutes=5))
        await reply_lines(anna, cameras=["lobby"], since=since, question="a private matter")
        remaining = await admin.jetstream().get_last_msg(names.AUDIT, names.audit("ask"))
        entry = json.loads(remaining.data or b"")
        assert entry["person"] == "anna" and entry["details"] == {"kind": "ask", "cameras": ["lobby"], "since": since}
        assert b"private" not in (remaining.data or b"")
