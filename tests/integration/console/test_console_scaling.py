"""The console's page Scaling: the scaler's reports, and what-ifs, with the rights to see and start them."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncGenerator
from typing import Any

import httpx
import pytest
from nats.aio.client import Client

from services.console.scaling import whatif
from services.console.scaling.child import simulate
from services.console.scaling.now import scaled_service
from services.console.scaling.whatif import WhatIf
from services.console.web.refused import Refused
from services.scaler.live.metadata import parse as query_of
from shared.contract.questions.explain import Explanation, Explanations
from shared.contract.questions.whatif import Failed, InForce, Progress, UsageLine, WhatIfRequest
from shared.runtime.errors import BusError
from tests.support.console.people import Running, console_on
from tests.support.waiting import patience_s, until
from tests.support.worlds.audit import keep
from tests.support.worlds.scalers import estimating
from tests.support.worlds.whatif import CSV, lives, ours
from tidegate.keda.scaledobject import parse
from tidegate.local.server import NatsServer

BY_CSV = {"service": "cv", "arrivals": "csv", "csv": CSV, "service_rate": 1.5, "latency_target_s": 5, "price": 3}
# Its simulation takes a minute.
LONG = {"service": "cv", "arrivals": "made_up", "trace": "days", "service_rate": 0.5}
REQUEST = WhatIfRequest(service="cv", arrivals="made_up")


async def ended(client: httpx.AsyncClient, id: str) -> dict[str, Any]:
    """A what-if after its end."""
    while True:
        found: dict[str, Any] = (await client.get(f"whatif/{id}")).raise_for_status().json()
        if found["state"] != "runs":
            return found
        await asyncio.sleep(0.1)


async def begun(console: Running, name: str, request: dict[str, Any], **more: Any) -> tuple[httpx.AsyncClient, str]:
    person = await console.person(name, "operator", **({"sees_all": True} | more))
    answer = await person.post("whatif", json=request)
    assert answer.status_code == 202, answer.text
    return person, answer.json()["id"]


# ---- the current state


async def test_reports_of_the_scaler_are_shown(server: NatsServer, admin: Client) -> None:
    async with console_on(server, admin, cost_per_hour=2.5) as console:
        anna = await console.person("anna", sees_all=True)
        found = (await anna.get("scaling")).json()
        assert {each["service"]: each["policy"] for each in found["services"]} == dict.fromkeys(
            ("cv", "embed", "vlm"), "unknown"
        )
        assert "no scaler answers: start 'tidegate up'" in found["services"][0]["sentence"]
        assert found["price"] == 2.5 and "minReplicaCount" in found["bounds"]
        async with estimating(server) as live_metrics:
            metadata = {"service": "cv", "latencyTarget": "3", "coldStart": "45", "lagThreshold": "9"}
            await live_metrics.get(query_of(metadata)).answer()
            async with asyncio.timeout(patience_s()):
                while (found := (await anna.get("scaling")).json())["services"][0]["policy"] == "unknown":
                    await asyncio.sleep(0.1)
            cv, embed, _ = found["services"]
            assert (embed["policy"], embed["queries"]) == ("pending count", [])
            assert cv["policy"] == "lag rule" and "cv needs 0 replicas" in cv["sentence"]
            (query,) = cv["queries"]
            assert query["is_current"] and query["by"] == "scaler"
            assert metadata.items() - {("service", "cv")} <= query["trigger"].items()
            assert query["explanation"]["terms"]["basis"] == "lag" and query["explanation"]["lines"]
            assert (cv["in_force"]["latency_target_s"], cv["in_force"]["cold_start_s"]) == (3, 45)


async def test_totals_are_shown_only_to_people_who_see_all_cameras(server: NatsServer, admin: Client) -> None:
    async with console_on(server, admin) as console:
        assert (await console.nobody().get("scaling")).status_code == 401
        eve = await console.person("eve", "operator", cameras=["lobby"])
        for answer in (await eve.get("scaling"), await eve.post("whatif", json=BY_CSV | {"arrivals": "usage"})):
            assert answer.status_code == 403 and "all cameras together" in answer.json()["error"]
        viewer = await console.person("vera", sees_all=True)
        for answer in (
            await viewer.post("whatif", json=BY_CSV),
            await viewer.get("whatif"),
            await viewer.get("whatif/x"),
            await viewer.delete("whatif/x"),
        ):
            assert answer.status_code == 403 and "operator" in answer.json()["error"]
        assert ours() == []


def test_current_settings_are_separated_from_former_ones() -> None:
    settings = {"latency_target_s": 2.0, "cold_start_s": 60.0, "lag_threshold": 20.0, "loss_budget": 0.02}
    terms = {"basis": "demand", "replicas": 2.0, "active": True, "degradable": True}
    now = Explanation(service="cv", of="x", terms=terms, settings=settings)
    before = Explanation(service="cv", of="x", terms=terms, settings=settings | {"cold_start_s": 9.0}, asked_s=99.0)
    found = scaled_service("cv", [Explanations(by="scaler", services=["cv"], found=[before, now])])
    assert [(q.is_current, q.trigger["coldStart"]) for q in found.queries] == [(True, "60"), (False, "9")]
    assert (found.policy, found.in_force) == ("demand", InForce(**settings, degradable=True))
    missing = scaled_service("cv", [Explanations(by="scaler", services=["cv"], found=[before])])
    assert (missing.policy, missing.in_force) == ("pending count", None)


# ---- what-ifs


@pytest.mark.slow
async def test_a_csv_is_simulated_with_the_settings_in_force(server: NatsServer, admin: Client) -> None:
    async with console_on(server, admin) as console, estimating(server) as live_metrics:
        await live_metrics.get(query_of({"service": "cv", "latencyTarget": "3", "coldStart": "45"})).answer()
        olga, id = await begun(console, "olga", BY_CSV)
        found = await ended(olga, id)
        assert found["state"] == "done" and found["progress"] == 1, found
        answer = found["answer"]
        (best,) = [row for row in answer["table"] if row["recommended"]]
        assert best["name"] == answer["recommended"] and parse(answer["scaled_object"]).name == "tidegate-cv"
        assert answer["saved"]["against"] == "now" and answer["saved"]["cost_30d"] is not None
        (now,) = [row for row in answer["table"] if row["name"] == "now"]
        assert "coldStart 45" in now["settings"]
        (listed,) = (await olga.get("whatif")).json()
        assert listed["id"] == id and listed["answer"] is None
        other = await console.person("otto", "operator", sees_all=True)
        assert (await other.get(f"whatif/{id}")).status_code == 404 and (await other.get("whatif")).json() == []
        assert (await other.delete(f"whatif/{id}")).status_code == 404
        assert (await olga.delete(f"whatif/{id}")).status_code == 204
        assert (await olga.get(f"whatif/{id}")).status_code == 404
    assert ours() == []


@pytest.mark.slow
async def test_real_arrivals_are_simulated_for_people_who_see_all_cameras(server: NatsServer, admin: Client) -> None:
    counts, _ = await keep(admin, 60)
    async with console_on(server, admin) as console:
        request = {"service": "cv", "arrivals": "usage", "cold_start_s": 60, "policies": ["demand"]}
        olga, id = await begun(console, "olga", request)
        answer = (await ended(olga, id))["answer"]
        assert f"cv: {sum(counts):,} messages" in answer["notes"][0]
        assert [row["name"] for row in answer["table"]] == ["static peak", "demand", "bound"]
        await console.person("olga", "operator", cameras=["lobby"])
        assert (await olga.get(f"whatif/{id}")).status_code == 404 and (await olga.get("whatif")).json() == []


async def test_missing_arrivals_are_reported_at_the_field(server: NatsServer, admin: Client) -> None:
    async with console_on(server, admin) as console:
        olga, id = await begun(console, "olga", {"service": "cv", "arrivals": "usage"})
        found = await ended(olga, id)
        assert (found["state"], found["field"]) == ("failed", "arrivals")
        assert "nothing is known yet of what arrives at cv" in found["error"]
        await admin.jetstream().delete_stream("USAGE")
        answer = await olga.post("whatif", json={"service": "cv", "arrivals": "usage"})
        found = await ended(olga, answer.json()["id"])
        assert found["state"] == "failed" and "run 'tidegate setup'" in found["error"]


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"latency_target_s": 0}, "latency_target_s"),
        ({"price": "much"}, "price"),
        ({"csv": "x" * (4 * 1024 * 1024 + 1)}, "csv"),
        ({"trace": "tuesday"}, "trace"),
        ({"budgets": [2]}, "budgets"),
        ({"service": "search"}, "service"),
        ({"service": "../cv"}, "service"),
        ({"surprise": 1}, "surprise"),
    ],
)
async def test_an_unusable_field_is_named(
    server: NatsServer, admin: Client, fields: dict[str, Any], named: str
) -> None:
    async with console_on(server, admin) as console:
        olga = await console.person("olga", "operator", sees_all=True)
        answer = await olga.post("whatif", json=BY_CSV | fields)
        assert answer.status_code == 400 and named in answer.json()["error"], answer.text
        assert ours() == []


@pytest.mark.slow
async def test_simulations_are_limited_to_one_a_person_and_two_in_total(server: NatsServer, admin: Client) -> None:
    """A person who ends theirs makes room; the console's end is the end of all."""
    async with console_on(server, admin) as console:
        olga, first = await begun(console, "olga", LONG)
        assert (await olga.post("whatif", json=LONG)).status_code == 409
        await begun(console, "otto", LONG)
        oda = await console.person("oda", "operator", cameras=["lobby"])
        answer = await oda.post("whatif", json=LONG)
        assert answer.status_code == 429 and answer.headers["retry-after"]
        await until(lambda: len(ours(at_work=True)) == 2)
        before = ours()
        assert (await olga.delete(f"whatif/{first}")).status_code == 204
        assert sum(map(lives, before)) < len(before), "it has ended by now"
        assert (await olga.get("whatif")).json() == []
        assert (await oda.post("whatif", json=LONG)).status_code == 202, "a made-up trace is of no camera"
        await until(lambda: len(ours(at_work=True)) == 2)
    assert not any(map(lives, ours())), "none outlives the console"


async def test_a_dead_simulation_is_reported(server: NatsServer, admin: Client) -> None:
    async with console_on(server, admin) as console:
        olga, id = await begun(console, "olga", LONG)
        await until(lambda: ours(at_work=True))
        (child,) = ours(at_work=True)
        workers = child.children()
        child.send_signal(signal.SIGKILL)
        found = await ended(olga, id)
        assert found["state"] == "failed" and "ended by signal 9 before it had an answer" in found["error"]
        assert not any(map(lives, workers))
        assert (await olga.post("whatif", json=LONG)).status_code == 202, "another may be tried at once"


# ---- children that break the protocol


def child(code: str) -> list[str]:
    return [sys.executable, "-c", code]


WAITS = child("import json, sys, time; print(json.dumps({'progress': 0.5, 'doing': 'x'}), flush=True); time.sleep(999)")
REFUSES = child("import json; print(json.dumps({'error': 'no', 'field': 'csv'}))")


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("", "ended with code 0"),
        ("raise SystemExit(7)", "ended with code 7"),
        ("import os; os.abort()", "ended by signal 6"),
        ("print('noise'); print('{}'); print('[1]'); print(chr(0xe9))", "ended with code 0"),
        ("import os; os.fork() or __import__('time').sleep(999)", "ended with code 0"),
    ],
)
async def test_any_failure_of_a_child_has_a_sentence(code: str, text: str) -> None:
    found = await simulate(child(code), REQUEST, None, lambda progress: None)
    assert isinstance(found, Failed) and text in found.error


async def test_a_slow_child_is_ended() -> None:
    heard: list[Progress] = []
    found = await simulate(WAITS, REQUEST, None, heard.append, most_s=1.0)
    assert isinstance(found, Failed) and "it took more than" in found.error
    assert heard in ([], [Progress(progress=0.5, doing="x")])


async def test_a_child_that_reads_nothing_blocks_nobody() -> None:
    """It gets more input than a pipe buffers, and refuses it."""

    async def usage() -> AsyncGenerator[UsageLine, None]:
        while True:
            yield UsageLine(subject="usage.cv", stored_at=1.0, data=b"x" * 100_000)

    assert await simulate(REFUSES, REQUEST, usage(), lambda progress: None) == Failed(error="no", field="csv")


async def test_interrupted_arrivals_are_not_simulated() -> None:
    """Regression: it would have simulated the arrivals received so far."""

    async def usage() -> AsyncGenerator[UsageLine, None]:
        yield UsageLine(subject="usage.cv", stored_at=1.0, data=b"x")
        raise BusError("the server went away")

    reads = child('import sys; sys.stdin.read(); print(\'{"error": "it was taken for all"}\')')
    assert await simulate(reads, REQUEST, usage(), lambda progress: None) == Failed(
        error="the server went away", field="arrivals"
    )


async def test_a_child_has_no_password_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NATS_PASSWORD", "hunter2")
    monkeypatch.setenv("CONSOLE_URL", "http://127.0.0.1")
    tells = child("import json, os; print(json.dumps({'error': json.dumps(dict(os.environ))}))")
    found = await simulate(tells, REQUEST, None, lambda progress: None)
    assert isinstance(found, Failed)
    environment = json.loads(found.error)
    assert "PATH" in environment and not {"NATS_PASSWORD", "CONSOLE_URL"} & environment.keys()


async def test_finished_simulations_stay_for_a_limited_time_and_number() -> None:
    now = 0.0
    jobs = WhatIf(REFUSES, lambda: now)
    ids = []
    for n in range(whatif.MOST_RESULTS + 3):
        now = float(n)
        job = jobs.start("olga", REQUEST)
        ids.append(job.id)
        assert jobs.find("otto", job.id) is None
        await until(lambda job=job: job.result)  # type: ignore[misc]
    remaining = [id for id in ids if jobs.find("olga", id)]
    assert remaining == ids[-whatif.MOST_RESULTS :] and [job.id for job in jobs.jobs_of("olga")] == remaining[::-1]
    now += whatif.RETENTION_S - 1
    assert [id for id in ids if jobs.find("olga", id)] == ids[-2:]
    now += 2
    assert jobs.jobs_of("olga") == []


async def test_running_simulations_stay_and_end_with_the_console() -> None:
    now = 0.0
    jobs = WhatIf(WAITS, lambda: now)
    running = asyncio.create_task(jobs.run())
    job = jobs.start("olga", REQUEST)
    await until(lambda: job.progress.progress == 0.5)
    now = 10 * whatif.RETENTION_S
    assert jobs.find("olga", job.id) is job and job.result is None
    with pytest.raises(Refused, match="still runs"):
        jobs.start("olga", REQUEST)
    running.cancel()
    await asyncio.wait([running])
    assert isinstance(job.result, Failed)
