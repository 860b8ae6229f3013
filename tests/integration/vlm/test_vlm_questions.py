"""Questions by request, and frames that search found."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
from typing import Any

from nats.aio.client import Client

from shared import bus
from shared.contract import names
from shared.contract.work import jobs
from tests.support.servers.openai_server import OpenAiServer, text
from tests.support.waiting import patience_s, until
from tests.support.worlds.jobs_world import ask, film, fronting, settled, stored_results, waiting, worker
from tests.support.worlds.vlm_service import letters, openai, until_requested
from tidegate.local.server import NatsServer

__all__ = ["openai"]


async def test_questions_are_answered_by_request(server: NatsServer, admin: Client, openai: OpenAiServer) -> None:
    seqs = await film(admin, 8)
    asker = await bus.connect(server.settings("asker"), "asker")
    async with fronting(server), worker(server, openai.url):
        verdict = await ask(asker, kind="verify", camera="lobby", prompt="A tram is there.", segments=seqs[:2])
        assert verdict["verdict"] == "confirmed" and verdict["incident"].startswith("asked-")
        openai.then = text('{"answer":"A man.","frames":[2]}')
        answers = await asyncio.gather(
            *(ask(asker, kind="ask", camera="lobby", question=f"Who {n}?") for n in range(12)),
            ask(asker, kind="caption", camera="lobby"),
        )
        assert [a["text"] for a in answers] == ["A man."] * 13
        assert [a["question"] for a in answers[:12]] == [f"Who {n}?" for n in range(12)]
        info = json.loads((await asker.request("$SRV.INFO.tidegate-vlm", timeout=patience_s())).data)
        assert [e["subject"] for e in info["endpoints"]] == ["svc.ask"]
    await asker.close()
    assert await letters(admin) == []


async def test_a_question_waits_for_a_worker(server: NatsServer, admin: Client, openai: OpenAiServer) -> None:
    await film(admin, 4)
    openai.then = text('{"answer":"Nobody.","frames":[]}')
    async with fronting(server):
        asking = asyncio.create_task(ask(admin, kind="ask", camera="lobby", question="Who?"))
        await until_requested(admin)
        assert not asking.done()
        async with worker(server, openai.url):
            assert (await asking)["text"] == "Nobody."
        late = await ask(admin, kind="ask", camera="lobby", question="Who?", wait_s=0.5)
        assert (late["Nats-Service-Error-Code"] == "504" and "events with job" in late["Nats-Service-Error"]) or (
            "as an event" in late["Nats-Service-Error"]
        )
        bad = await ask(admin, kind="ask", camera="lobby", question="Who?", sinc="x")
        assert bad["Nats-Service-Error-Code"] == "400" and "sinc" in bad["Nats-Service-Error"]


async def test_a_stopping_front_answers_waiting_askers(server: NatsServer, admin: Client) -> None:
    async with fronting(server):
        asking = asyncio.create_task(ask(admin, kind="ask", camera="lobby", question="Who?"))
        await until_requested(admin)
    refusal = await asking
    assert refusal["Nats-Service-Error-Code"] == "503" and "ask again" in refusal["Nats-Service-Error"]


async def test_an_asker_may_only_ask(server: NatsServer, admin: Client) -> None:
    asker = await bus.connect(server.settings("asker"), "asker")
    problems: list[str] = []
    asker._error_cb = lambda e: problems.append(str(e)) or asyncio.sleep(0)  # type: ignore[attr-defined, func-returns-value]
    for subject in ("jobs.vlm.ask.lobby", "media.lobby", "$JS.API.STREAM.INFO.MEDIA", "events.answers.lobby"):
        await asker.publish(subject, b"x")
    await asker.flush()
    await until(lambda: len(problems) == 4)
    assert await waiting(admin, names.ASKS) == 0
    await asker.close()


async def test_half_of_the_frames_come_from_search(server: NatsServer, admin: Client, openai: OpenAiServer) -> None:
    start = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=20)
    await film(admin, 20, start=start)
    found = start + dt.timedelta(seconds=4.2)
    requests: list[dict[str, Any]] = []

    async def find(message: Any) -> None:
        requests.append(json.loads(message.data))
        moment = {"time": found.isoformat(), "kept": True, "camera": "lobby"}
        await message.respond(json.dumps({"moments": [moment, moment | {"kept": False}]}).encode())

    search = await bus.connect(server.settings("search"), "search")
    await search.subscribe(names.FIND, cb=find)
    await search.flush()
    openai.then = text('{"answer":"x","frames":[]}')
    async with worker(server, openai.url):
        end = start + dt.timedelta(seconds=20)
        await bus.publish_job(admin, jobs.Ask(camera="lobby", id="q", question="A tram?", start=start, end=end))
        await settled(admin)
    await search.close()
    ((_, answer),) = await stored_results(admin)
    assert requests[0]["text"] == "A tram?" and requests[0]["cameras"] == ["lobby"] and requests[0]["k"] == 2
    assert len(answer.frames) == 4
    assert min(abs((f.time - found).total_seconds()) for f in answer.frames) < 0.05
    times = [f.time for f in answer.frames]
    assert times == sorted(times) and (times[-1] - times[0]).total_seconds() > 10
