"""The page Now over HTTP: a real server, real workers, the scaler's explanations, and people with some cameras."""

from __future__ import annotations

import asyncio
import datetime as dt
import shutil
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from aiohttp import web
from nats.aio.client import Client
from prometheus_client import start_http_server

from services.console.now import markers
from services.console.now.series.prometheus import QUERIES
from services.console.now.series.ring import SERIES
from services.scaler.live.metadata import DemandQuery
from shared.contract import names
from shared.contract.segment import to_headers
from shared.runtime.ports import free_port
from shared.runtime.tasks import end
from tests.support.console.now import _send_for_ever, begun, of, poll_until, say, status
from tests.support.console.people import add_camera, console_on
from tests.support.processes.cv_worker import segment_head
from tests.support.processes.echo_service import Echo, publish, settled, working
from tests.support.servers import promql
from tests.support.servers.aio_page import AioPage
from tests.support.servers.prometheus_server import Prometheus
from tests.support.waiting import LONGEST_S
from tests.support.worlds.scalers import estimating
from tidegate.local.server import NatsServer


async def test_a_backlog_has_its_age_and_the_scalers_reason(server: NatsServer, admin: Client) -> None:
    """The console fetches messages from before its start once; the server reports the time of later ones."""
    await publish(admin, [f"s{n}" for n in range(20)])
    async with estimating(server) as scaler, console_on(server, admin, cost_per_hour=36.0) as console:
        scaler.get(DemandQuery(service="cv", stream="MEDIA", consumer="cv")).listeners.add(lambda: None)
        anna = await console.person("anna", sees_all=True)
        before = await poll_until(anna, "now", lambda n: of(n, "cv").get("wanted") and of(n, "cv").get("age_s", 0) > 1)
        cv = of(before, "cv")
        assert (cv["pending"], cv["in_flight"], cv["state"], cv["ready"]) == (20, 0, "missing", 0)
        assert cv["age_s"] < LONGEST_S
        assert cv["decides"] == "backlog" and "20 messages wait" in cv["sentence"] and cv["by"] == "scaler"
        async with working(server, Echo(infer_s=0.01)):
            await publish(admin, [f"t{n}" for n in range(60)], first=100)
            await settled(admin)
            after = await poll_until(
                anna,
                "now",
                lambda n: (
                    of(n, "cv").get("ready")
                    and of(n, "cv")["pending"] == 0
                    and of(n, "cv")["clearing"]
                    and of(n, "cv")["time"]["peak"]
                ),
            )
            cv = of(after, "cv")
            assert (cv["age_s"], cv["state"], cv["in_flight"]) == (0.0, "working", 0)
            assert cv["arriving"] > 0 and cv["replicas"][0]["model"] == "echo"
            assert cv["money"]["per_hour"] == 36.0 and cv["time"]["peak"] == 1
            # Every second of a replica costs a hundredth of the 36 an hour.
            later = await poll_until(anna, "now", lambda n: of(n, "cv")["time"]["used_s"] > 1)
            time, money = of(later, "cv")["time"], of(later, "cv")["money"]
            assert money["spent"] == pytest.approx(time["used_s"] / 100, abs=0.002)
            assert time["busy_s"] + time["idle_s"] + time["warming_s"] == pytest.approx(time["used_s"], abs=0.2)
        assert after["segments"] > 0 and after["bytes"] > 0 and after["connected"]
        # These do not run, and nothing has requested them.
        assert not any(of(after, name) for name in ("embed", "vlm", "search", "webhook", "analytics"))


async def test_a_deadly_message_does_not_count_as_waiting(server: NatsServer, admin: Client) -> None:
    """JetStream's acknowledgement floor stays below it: the backlog is what was never delivered."""
    js = admin.jetstream()
    config = (await js.consumer_info("MEDIA", "cv")).config
    await js.add_consumer("MEDIA", config.evolve(ack_wait=0.5, max_deliver=1))
    await publish(admin, ["dies", "lives"])
    pull = await js.pull_subscribe_bind("cv", "MEDIA")
    for message in (await pull.fetch(2))[1:]:
        await message.ack_sync()
    async with console_on(server, admin) as console:
        anna = await console.person("anna", sees_all=True)
        await poll_until(anna, "now", lambda n: of(n, "cv").get("in_flight") == 0)
        assert of((await anna.get("now")).json(), "cv")["age_s"] == 0.0
        await publish(admin, ["waits"], first=10)
        now = await poll_until(anna, "now", lambda n: of(n, "cv").get("pending") == 1 and of(n, "cv")["age_s"])
        sent = dt.datetime.fromisoformat(now["time"]) - (await js.get_msg("MEDIA", 3)).time
        assert of(now, "cv")["age_s"] <= sent.total_seconds() + 1.5


async def test_no_person_learns_of_a_hidden_camera(server: NatsServer, admin: Client) -> None:
    for camera in ("lobby", "yard", "attic"):
        await add_camera(admin, camera)
    await say(admin, status("yard", "offline"), "before/yard")
    async with console_on(server, admin) as console:
        anna, bea = await console.person("anna", sees_all=True), await console.person("bea", cameras=["lobby"])
        nobody = await console.person("cecil")
        await say(admin, status("lobby", "online"), "after/lobby")
        for n in range(3):
            head = to_headers(segment_head(n, camera="yard"))
            await admin.jetstream().publish(names.media("yard"), b"x" * 100, headers=head)
        everything = await poll_until(
            anna, "now", lambda n: n["online"] == 1 and n["attention"] and any(c["segments"] for c in n["cameras"])
        )
        assert [(c["id"], c["state"]) for c in everything["cameras"]] == [
            ("yard", "offline"),
            ("attic", "connecting"),
            ("lobby", "online"),
        ]
        assert everything["attention"] == [
            {
                "kind": "camera",
                "severity": "warning",
                "service": "",
                "camera": "yard",
                "amount": None,
                "reason": "no route",
            }
        ]
        some = (await bea.get("now")).json()
        assert [c["id"] for c in some["cameras"]] == ["lobby"] and some["online"] == 1 and not some["attention"]
        # The work of services is over all cameras: its amount would reveal hidden ones.
        assert everything["services"] and everything["segments"] and everything["bytes"]
        assert (some["services"], some["segments"], some["bytes"]) == ([], None, None)
        none = (await nobody.get("now")).json()
        assert (none["services"], none["segments"], none["bytes"]) == ([], None, None)
        assert (none["cameras"], none["online"], none["cameras_more"]) == ([], 0, 0)
        assert "yard" not in (await bea.get("now")).text + (await nobody.get("now")).text
        # A removed camera disappears immediately.
        await (await admin.jetstream().key_value(names.CAMERAS)).delete("yard")
        await poll_until(anna, "now", lambda n: len(n["cameras"]) == 2 and not n["attention"])


async def test_markers_are_of_the_range_and_of_visible_cameras(
    server: NatsServer, admin: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(markers, "MOST", 4)
    for n in range(10):
        await say(admin, begun("yard" if n % 2 else "lobby", n), f"i/{n}")
        await asyncio.sleep(0.002)
    await admin.jetstream().publish("events.incidents.lobby", b"no event")
    await say(admin, status("lobby", "offline"), "c/lobby")
    async with console_on(server, admin) as console:
        anna, bea = await console.person("anna", sees_all=True), await console.person("bea", cameras=["lobby"])
        nobody = await console.person("cecil")
        found, since, pages = [], "", 0
        while since is not None:
            answer = (await anna.get("markers", params={"since": since} if since else {})).json()
            found, since, pages = found + answer["markers"], answer["next"], pages + 1
        assert pages == 3 and [m["time"] for m in found] == sorted(m["time"] for m in found)
        assert [m["incident"] for m in found] == [f"i-{n}" for n in range(10)] + [""]
        assert (found[-1]["kind"], found[-1]["state"], found[-1]["what"]) == ("camera", "offline", "no route")
        monkeypatch.setattr(markers, "MOST", 500)
        some = (await bea.get("markers")).json()
        assert [m["incident"] for m in some["markers"]] == ["i-0", "i-2", "i-4", "i-6", "i-8", ""] and not some["next"]
        assert (await nobody.get("markers")).json()["markers"] == []
        ends = {"since": found[2]["time"], "until": found[5]["time"]}
        part = (await anna.get("markers", params=ends)).json()
        assert [m["incident"] for m in part["markers"]] == ["i-2", "i-3", "i-4"]
        # Other people's cameras change nothing in an answer, least of all the amount of reading.
        monkeypatch.setattr(markers, "MOST_READ", 1)
        until = (dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)).isoformat().replace("+00:00", "Z")
        later = {"since": ends["since"], "until": until}
        before = (await bea.get("markers", params=later)).json()
        for n in range(10, 20):
            await say(admin, begun("yard", n), f"i/{n}")
        assert (await bea.get("markers", params=later)).json() == before and before["markers"]
        monkeypatch.setattr(markers, "MOST_READ", 5000)
        # For a person with many cameras the console reads all of them, and returns the person's alone.
        many = await console.person("dora", cameras=["yard", *(f"c{n}" for n in range(50))])
        answer = (await many.get("markers")).json()
        assert [m["incident"] for m in answer["markers"]] == [*(f"i-{n}" for n in (1, 3, 5, 7, 9, *range(10, 20)))]


@pytest.mark.parametrize("path", ["history?service=cv&", "markers?"])
@pytest.mark.parametrize(
    "query",
    [
        "since=yesterday",
        "since=2026-11-29T12:00:00",
        "since=0001-01-01T00:00:00Z",
        "until=9999-12-31T23:59:59-14:00",
        "since=2026-11-29T12:00:00Z&until=2026-11-29T11:00:00Z",
        "since=%00%ff",
        "since=2100-01-01T00:00:00Z",
        pytest.param("since=" + "9" * 5000, id="long"),
    ],
)
async def test_a_bad_time_is_refused_with_a_sentence(bare: httpx.AsyncClient, path: str, query: str) -> None:
    answer = await bare.get(path + query)
    assert answer.status_code == 400 and len(answer.json()["error"]) > 20, answer.text


@pytest.mark.parametrize("query", ["service=cv&step=nan", "service=cv&step=-1", "service=cv&step=0.001", ""])
async def test_a_bad_step_and_a_missing_service_are_refused_with_a_sentence(
    bare: httpx.AsyncClient, query: str
) -> None:
    answer = await bare.get(f"history?{query}")
    assert answer.status_code == 400 and answer.json()["error"]


@pytest.mark.parametrize("service", ["nobody", 'cv"}', "cv|embed", ".*", "cv\n", "", "%2e%2e"])
async def test_an_unknown_service_is_not_found(bare: httpx.AsyncClient, service: str) -> None:
    answer = await bare.get("history", params={"service": service})
    assert answer.status_code == 404 and "there are ingest, cv" in answer.json()["error"]


@pytest.mark.slow
async def test_history_is_what_the_console_measured(server: NatsServer, admin: Client) -> None:
    async with console_on(server, admin, cost_per_hour=10.0) as console, working(server, Echo(infer_s=0.01)):
        anna = await console.person("anna", sees_all=True)
        sending = asyncio.create_task(_send_for_ever(admin))
        try:
            found = await poll_until(
                anna, "history?service=cv&step=5", lambda h: sum(v is not None for v in h["series"]["busy"]) >= 3
            )
        finally:
            await end(sending)
        assert found["source"] == "ring" and found["step_s"] == 5 and found["problem"] == ""
        assert set(found["series"]) == set(SERIES)
        assert len({len(values) for values in found["series"].values()}) == 1 and len(found["series"]["busy"]) <= 722
        last = {name: [v for v in values if v is not None][-1:] for name, values in found["series"].items()}
        assert last["ready"] == [1.0] and last["arriving"][0] > 1 and last["clearing"][0] > 1
        assert last["cost"][0] == pytest.approx(10.0, rel=0.3) and last["wanted"] == []
        # Forgotten data is not invented.
        old = (await anna.get("history?service=cv&since=2026-01-01T00:00:00Z&until=2026-01-02T00:00:00Z")).json()
        assert old["source"] == "ring" and set(old["series"]["busy"]) == {None} and old["known_since"] > old["until"]


@pytest.mark.slow
async def test_a_server_outage_is_a_marker(server: NatsServer, admin: Client) -> None:
    async with console_on(server, admin) as console:
        anna = await console.person("anna", sees_all=True)
        await poll_until(anna, "now", lambda n: n["connected"])
        await server.stop(signal.SIGKILL)
        away = await poll_until(anna, "now", lambda n: not n["connected"])
        assert [a["kind"] for a in away["attention"]] == ["server"]
        await server.start()
        await poll_until(anna, "now", lambda n: n["connected"] and not n["attention"])
        found = await poll_until(anna, "markers", lambda m: m["markers"] and m["markers"][-1]["until"])
        assert [m["kind"] for m in found["markers"]] == ["server"]
        # Later events appear as before.
        await publish(admin, ["s"])
        await poll_until(anna, "now", lambda n: of(n, "cv").get("pending") == 1)


# ---- Prometheus


class Odd(AioPage):
    """A server in place of Prometheus."""

    def __init__(self, then: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> None:
        super().__init__()
        self._then = then

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._then)
        return app


def _answers(body: bytes, status: int = 200, kind: str = "application/json") -> Any:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=body, status=status, content_type=kind)

    return answer


async def _drops(request: web.Request) -> web.Response:
    assert request.transport
    request.transport.close()
    return web.Response()


@pytest.mark.parametrize(
    ("then", "says"),
    [
        (_answers(b"<html>", kind="text/html"), "none of its API"),
        (_answers(b"", 502, "text/plain"), "502"),
        (_answers(b"", 302, "text/plain"), "302"),
        (_answers(b'{"status": "error", "error": "too many points"}', 400), "refuses: too many points"),
        (_answers(b'{"status": "success", "data": {"result": 7}}'), "none of its API"),
        (_answers(b"[" * 100_000), "none of its API"),
        (_answers(b" " * 5_000_000), "4194304 bytes"),
        (_drops, "can't be asked"),
    ],
)
async def test_a_failing_prometheus_is_reported_and_the_console_shows_its_own_data(
    server: NatsServer, admin: Client, then: Any, says: str
) -> None:
    async with Odd(then) as page:
        url = f"http://me:S3cret@127.0.0.1:{page.port}/prometheus"
        async with console_on(server, admin, prometheus_url=url) as console:
            anna = await console.person("anna", sees_all=True)
            answer = await anna.get("history?service=cv&since=2026-11-01T00:00:00Z&until=2026-11-02T00:00:00Z")
            found = answer.json()
            assert (found["source"], set(found["series"])) == ("ring", set(SERIES))
            assert says in found["problem"] and "S3cret" not in answer.text


async def test_data_of_prometheus_has_the_format_of_the_ring(server: NatsServer, admin: Client) -> None:
    requests: list[dict[str, str]] = []

    async def answer(request: web.Request) -> web.Response:
        form = {key: str(value) for key, value in (await request.post()).items()}
        requests.append(form)
        start, step = float(form["start"]), float(form["step"].rstrip("s"))
        # The second of the points is missing, the third is no number, and one lies beyond.
        values = [[start, "2.5"], [start + 2 * step, "NaN"], [start + 3 * step, "4"], [start + 900 * step, "9"]]
        series = {"metric": {}, "values": values}
        return web.json_response({"status": "success", "data": {"resultType": "matrix", "result": [series]}})

    async with Odd(answer) as page:
        url = f"http://127.0.0.1:{page.port}"
        async with console_on(server, admin, prometheus_url=url, cost_per_hour=2.0) as console:
            anna = await console.person("anna", sees_all=True)
            day = "since=2026-11-01T00:00:00Z&until=2026-11-01T01:00:00Z&step=600"
            found = (await anna.get(f"history?service=cv&{day}")).json()
    assert found["source"] == "prometheus" and found["step_s"] == 600
    assert found["series"]["busy"] == [2.5, None, None, 4.0, None, None]
    assert found["series"]["cost"] == [5.0, None, None, 8.0, None, None]
    assert {form["step"] for form in requests} == {"600s"} and len(requests) == len(QUERIES)
    assert all('service="cv"' in form["query"] for form in requests)


@pytest.mark.foreign
def test_all_queried_metrics_exist(tmp_path: Path) -> None:
    queries = [q.format(service="cv", over="120s") for q in QUERIES.values()]
    promql.checked(tmp_path, queries)
    assert tuple(QUERIES) == SERIES
    assert [strange for query in queries for strange in promql.strangers(query)] == []


@pytest.mark.foreign
@pytest.mark.slow
async def test_a_real_prometheus_has_data_from_before_the_console(
    server: NatsServer, admin: Client, tmp_path: Path
) -> None:
    if not shutil.which("prometheus"):
        pytest.skip("Prometheus is not installed: apt-get install prometheus")
    port = free_port(0)
    page, _ = start_http_server(port, "127.0.0.1")
    targets = [{"targets": [f"127.0.0.1:{port}"], "labels": {"namespace": "tidegate"}}]
    scrape = {"job_name": "worker", "static_configs": targets}
    sending = asyncio.create_task(_send_for_ever(admin))
    try:
        async with (
            Prometheus(tmp_path, scrape) as prometheus,
            working(server, Echo(infer_s=0.01)),
            console_on(server, admin, prometheus_url=prometheus.url) as console,
        ):
            anna = await console.person("anna", sees_all=True)
            path = "history?service=cv&step=60"
            found = await poll_until(anna, path, lambda h: any(h["series"]["clearing"]) and not h["problem"])
        assert found["source"] == "prometheus" and len(found["series"]["clearing"]) in (60, 61)
        assert max(v for v in found["series"]["age_s"] if v is not None) >= 0
    finally:
        await end(sending)
        page.shutdown()
        page.server_close()


@pytest_asyncio.fixture
async def bare(server: NatsServer, admin: Client) -> AsyncIterator[httpx.AsyncClient]:
    """A person at a console without data."""
    async with console_on(server, admin) as console:
        yield await console.person("anna", sees_all=True)
