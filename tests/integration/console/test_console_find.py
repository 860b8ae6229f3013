"""Search by the console: every kind of query, over the cameras that a person may see, and nothing about the others."""

from __future__ import annotations

import asyncio
import base64
import csv
import datetime as dt
import io
import json
from pathlib import Path
from typing import Any

import httpx
import msgspec
from hypothesis import example, given
from hypothesis import strategies as st
from nats.aio.client import Client

from services.console.accounts.records import TOKEN_PREFIX, ApiToken, hashed
from services.console.find.export import as_csv
from services.console.find.search_client import MOST_AT_ONCE
from services.console.find.searches import FoundMoment, merge_answers
from shared import bus
from shared.bus import requests
from shared.contract import names
from shared.contract.questions.search import MAX_CAMERAS, Found, Moment, Query
from shared.runtime.tasks import end
from tests.support.console.people import add_camera, console_on
from tests.support.waiting import patience_s, until
from tests.support.worlds.search_world import at, detected, embedded, encoder, scene, searching, settled
from tidegate.local.server import NatsServer

TEXTS = {"a red door": scene(1), "a door": scene(1, 3)}


async def found(client: httpx.AsyncClient, **search: Any) -> dict[str, Any]:
    answer = await client.post("find", json=search)
    assert answer.status_code == 200, answer.text
    reply: dict[str, Any] = answer.json()
    return reply


async def refused(client: httpx.AsyncClient, status: int, **search: Any) -> str:
    answer = await client.post("find", json=search)
    assert answer.status_code == status, answer.text
    return str(answer.json()["error"])


def moment(camera: str, similarity: float | None = None, score: float | None = None) -> Moment:
    common: dict[str, Any] = {"start": at(0), "end": at(1), "time": at(0), "seq": 1, "by": ["labels"]}
    return Moment(camera=camera, similarity=similarity, score=score, **common)


async def test_moments_are_found_by_words_labels_and_similarity(
    server: NatsServer, admin: Client, tmp_path: Path
) -> None:
    for second in range(20):
        await embedded(admin, "lobby" if second < 10 else "street", second, scene(second // 10, second))
    await detected(admin, "lobby", 5, [("person", 0.9)])
    async with searching(server, tmp_path), encoder(server, TEXTS), console_on(server, admin) as console:
        for camera in ("lobby", "street"):
            await add_camera(admin, camera)
        await settled(admin)
        anna = await console.person("anna", sees_all=True)
        reply = await found(anna, text="a red door", k=5)
        best = reply["moments"][0]
        assert (best["camera"], best["hits"], best["by"]) == ("street", 10, ["vectors"])
        assert dt.datetime.fromisoformat(best["start"]) == at(10) and best["similarity"] > 0.9
        assert reply["model"] == "m" and reply["pending"] == 0 and best["picture"] is None and not best["kept"]
        assert [m["camera"] for m in (await found(anna, like=best["id"]))["moments"]] == ["street", "lobby"]
        (only,) = (await found(anna, labels=["person"]))["moments"]
        assert (only["camera"], only["labels"], only["id"]) == ("lobby", ["person"], None)
        assert [m["camera"] for m in (await found(anna, text="a red door", cameras=["lobby"]))["moments"]] == ["lobby"]
        assert not (await found(anna, text="a red door", until=at(0).isoformat()))["moments"]
        assert not (await found(anna, text="a red door", last_s=60))["moments"], "all of it was seen long ago"
        assert not (await found(anna, text="a red door", min_score=1))["moments"]
        assert (await anna.get("find/labels")).json() == {"labels": ["person"]}
        assert (await anna.get("find/labels", params={"cameras": "street"})).json() == {"labels": []}


async def test_a_person_with_one_camera_learns_nothing_of_the_others(
    server: NatsServer, admin: Client, tmp_path: Path
) -> None:
    for second in range(4):
        await embedded(admin, "lobby", second, scene(0, second))
        await embedded(admin, "vault", second, scene(1, second))
    await detected(admin, "lobby", 0, [("dog", 0.9)])
    await detected(admin, "vault", 0, [("safe", 0.9), ("dog", 0.95)])
    async with searching(server, tmp_path), encoder(server, TEXTS), console_on(server, admin) as console:
        for camera in ("lobby", "vault"):
            await add_camera(admin, camera)
        await settled(admin)
        anna = await console.person("anna", cameras=["lobby", "vault"])
        eve = await console.person("eve", cameras=["lobby"])
        nobody = await console.person("nobody")
        hidden = (await found(anna, text="a red door", cameras=["vault"]))["moments"][0]["id"]

        reply = await found(eve, text="a red door", k=100)
        assert [m["camera"] for m in reply["moments"]] == ["lobby"] and "vault" not in json.dumps(reply)
        assert reply["pending"] is None, "how far behind the index is tells how busy the others are"
        assert [m["camera"] for m in (await found(eve, labels=["dog", "safe"]))["moments"]] == ["lobby"]
        assert (await eve.get("find/labels")).json() == {"labels": ["dog"]}
        for path in ("find", "find/export"):
            for camera in ("vault", "cellar"):
                answer = await eve.post(path, json={"text": "x", "cameras": ["lobby", camera]})
                assert (answer.status_code, answer.json()) == (404, {"error": f"there is no camera '{camera}'"})
        assert (await eve.get("find/labels", params={"cameras": "vault"})).status_code == 404
        there_is_not = "embed/m/MEDIA/vault1#0"
        sentences = {(await refused(eve, 400, like=id)).replace(id, "it") for id in (hidden, there_is_not)}
        assert len(sentences) == 1, "a moment that they may not see is as one that there is not"
        assert "vault" not in (await eve.post("find/export", json={"labels": ["dog"]})).text

        assert await found(nobody, text="a red door") == {"moments": [], "model": None, "pending": None, "note": None}
        assert (await found(nobody, like=hidden))["moments"] == []
        assert (await nobody.get("find/labels")).json() == {"labels": []}


async def test_words_reveal_nothing_of_hidden_cameras(server: NatsServer, admin: Client, tmp_path: Path) -> None:
    """Without a text model, the service names the labels it knows."""
    await detected(admin, "lobby", 0, [("dog", 0.9)])
    await detected(admin, "vault", 0, [("safe", 0.9)])
    async with searching(server, tmp_path), console_on(server, admin) as console:
        await settled(admin)
        anna, eve = await console.person("anna", sees_all=True), await console.person("eve", cameras=["lobby"])
        assert [m["camera"] for m in (await found(anna, text="a safe"))["moments"]] == ["vault"]
        seen, never = await refused(eve, 502, text="a safe"), await refused(eve, 502, text="a boat")
        assert seen.replace("a safe", "it") == never.replace("a boat", "it") and "(seen: dog)" in seen


async def test_hidden_cameras_in_a_service_answer_are_dropped(server: NatsServer, admin: Client) -> None:
    """The console drops results of other cameras, although its request names the permitted ones."""
    search = await bus.connect(server.settings("search"), "search")
    queries: list[Query] = []

    async def tell(payload: bytes) -> tuple[bytes, dict[str, str]]:
        queries.append(msgspec.json.decode(payload, type=Query))
        moments = [
            Moment(camera=c, start=at(0), end=at(1), time=at(0), seq=1, by=["labels"]) for c in ("lobby", "vault")
        ]
        return msgspec.json.encode(Found(moments=moments, pending=7)), {}

    service = await requests.serve(search, names.micro("search"), "tells too much", {"find": (names.FIND, tell)})
    async with console_on(server, admin) as console:
        eve = await console.person("eve", cameras=["lobby"])
        assert [m["camera"] for m in (await found(eve, like="x"))["moments"]] == ["lobby"]
        assert (queries[0].cameras, queries[0].like_cameras) == (["lobby"], ["lobby"])
        many = [f"c-{n}" for n in range(MAX_CAMERAS + 1)]
        max = await console.person("max", cameras=many)
        assert (await found(max, like="x"))["moments"] == []
        assert [len(query.cameras) for query in queries[1:]] == [MAX_CAMERAS, 1]
        assert {len(query.like_cameras) for query in queries[1:]} == {len(many)}
    await service.stop()
    await search.close()


async def test_a_search_ends_with_its_browser(server: NatsServer, admin: Client) -> None:
    """Each person has a limit of concurrent searches: abandoned ones must not count."""
    search = await bus.connect(server.settings("search"), "search")
    queries, go = [], asyncio.Event()

    async def wait(payload: bytes) -> tuple[bytes, dict[str, str]]:
        queries.append(payload)
        await go.wait()
        return msgspec.json.encode(Found(moments=[])), {}

    waiting: set[asyncio.Task[None]] = set()
    service = await requests.serve(
        search, names.micro("search"), "waits", {"find": (names.FIND, wait)}, waiting=waiting
    )
    async with console_on(server, admin) as console:
        anna, bea = await console.person("anna", sees_all=True), await console.person("bea", sees_all=True)
        for _ in range(2):
            begun = len(queries)
            tasks = [asyncio.create_task(anna.post("find", json={"text": "x"})) for _ in range(MOST_AT_ONCE)]
            await until(lambda begun=begun: len(queries) == begun + MOST_AT_ONCE)
            assert "wait until one is answered" in await refused(anna, 429, text="x")
            await end(*tasks)
            await until_free(anna)
        go.set()
        assert (await found(anna, text="x"))["moments"] == [] == (await found(bea, text="x"))["moments"]
    await service.stop()
    await search.close()


async def until_free(client: httpx.AsyncClient) -> None:
    """Wait until they may search again: an invalid search is then refused for its content."""
    async with asyncio.timeout(patience_s()):
        while (await client.post("find", json={"like": "x", "cameras": ["nowhere"]})).status_code == 429:
            await asyncio.sleep(0.02)


async def test_an_invalid_picture_or_search_is_refused_with_a_sentence(
    server: NatsServer, admin: Client, tmp_path: Path
) -> None:
    async with console_on(server, admin) as console:
        anna = await console.person("anna", sees_all=True)
        assert "tidegate up --search" in await refused(anna, 503, text="x")
        async with searching(server, tmp_path), encoder(server, TEXTS):
            for search, says in (
                ({}, "asks for nothing"),
                ({"text": "x", "like": "y"}, "asks by text and like"),
                ({"text": "x", "since": at(1).isoformat(), "until": at(0).isoformat()}, "is not before until"),
                ({"text": "x", "since": at(1).isoformat(), "last_s": 5}, "give one of them"),
                ({"text": "x", "since": "0001-01-01T00:00:00Z"}, "is no time of video"),
                ({"text": "x", "k": 101}, "<= 100"),
                ({"text": "x", "picture": True}, "unknown field `picture`"),
                ({"image": "no base64!"}, "base64"),
                ({"image": base64.b64encode(b"x" * (8 * 2**20 + 1)).decode()}, "<= 8388608"),
                ({"image": base64.b64encode(b"x" * (8 * 2**20)).decode()}, "give a smaller picture"),
                ({"image": base64.b64encode(b"no picture").decode()}, "not a picture"),
            ):
                assert says in await refused(anna, 400, **search), search
            too_large = await anna.post(
                "find", content=b"x" * (13 * 2**20), headers={"content-type": "application/json"}
            )
            assert too_large.status_code == 413


async def test_results_are_exported_as_csv(server: NatsServer, admin: Client, tmp_path: Path) -> None:
    await detected(admin, "-lobby", 0, [("=HYPERLINK(0)", 0.9)])
    async with searching(server, tmp_path), console_on(server, admin) as console:
        await settled(admin)
        anna = await console.person("anna", cameras=["-lobby"])
        answer = await anna.post("find/export", json={"labels": ["=HYPERLINK(0)"]})
        assert answer.headers["content-type"].startswith("text/csv")
        assert answer.headers["content-disposition"] == 'attachment; filename="found.csv"'
        (line,) = csv.DictReader(io.StringIO(answer.text))
        assert (line["camera"], line["labels"], line["score"]) == ("'-lobby", "'=HYPERLINK(0)", "0.9")
        assert (line["start"], line["kept"]) == ("2026-11-24T13:00:00.000Z", "no")


@given(st.lists(st.text(max_size=8), max_size=3), st.text(max_size=8), st.floats(-1, 1))
@example([], "\x1f=", 0.0)
def test_no_csv_cell_is_a_formula(labels: list[str], id: str, similarity: float) -> None:
    moment = FoundMoment(
        camera="-x", start=at(0), end=at(1), time=at(0), by=["vectors"], labels=labels, id=id, similarity=similarity
    )
    (_, row) = csv.reader(io.StringIO(as_csv([moment]), newline=""))
    for n, cell in enumerate(row):
        assert n == 4 or not cell.lstrip().startswith(("=", "+", "-", "@")), "but for a number that we write"
    assert float(row[4]) == similarity and row[10].removeprefix("'") == id.removeprefix("'")


async def test_saved_searches_are_private(server: NatsServer, admin: Client) -> None:
    async with console_on(server, admin) as console:
        anna, eve = await console.person("anna", sees_all=True), await console.person("eve", cameras=["lobby"])
        entry = {"title": "Red cars at night", "search": {"text": "a red car", "last_s": 3600, "cameras": ["lobby"]}}
        assert (await anna.put("find/saved/red", json=entry)).status_code == 204
        remaining = {"name": "red", "title": "Red cars at night", "search": entry["search"]}
        assert (await anna.get("find/saved")).json() == {"saved": [remaining]}
        assert (await anna.get("find/saved/red")).json() == remaining
        assert (await eve.get("find/saved")).json() == {"saved": []}
        for name in ("red", "anna.red", "..%2Fred"):
            assert (await eve.get(f"find/saved/{name}")).status_code == 404
            assert (await eve.delete(f"find/saved/{name}")).status_code == 404
        for name, bad in (
            ("a.b", entry),
            ("empty", {"search": {}}),
            ("both", {"search": {"text": "x", "like": "y"}}),
            ("picture", {"search": {"image": "aGVsbG8="}}),
        ):
            assert (await anna.put(f"find/saved/{name}", json=bad)).status_code == 400, name
        assert (await anna.delete("find/saved/red")).status_code == 204
        assert (await anna.get("find/saved")).json() == {"saved": []}
        answers = [(await anna.put(f"find/saved/s-{n}", json=entry)).status_code for n in range(51)]
        assert answers == [204] * 50 + [409]
        assert (await anna.put("find/saved/s-0", json=entry)).status_code == 204, "in place of one that is kept"


async def test_a_token_reads_saved_searches_and_changes_none(server: NatsServer, admin: Client) -> None:
    async with console_on(server, admin) as console:
        anna = await console.person("anna", sees_all=True)
        for name, cameras in (("of-lobby", ["lobby", "vault"]), ("of-vault", ["vault"]), ("of-all", [])):
            entry = {"search": {"text": name, "cameras": cameras}}
            assert (await anna.put(f"find/saved/{name}", json=entry)).status_code == 204
        secret = f"{TOKEN_PREFIX}secret"
        token = ApiToken(person="anna", label="x", role="viewer", cameras=("lobby",), began=1e9, expires=1e11)
        await console.put(hashed("token", secret), msgspec.json.encode(token))
        program = console.nobody(Authorization=f"Bearer {secret}")
        reply = (await program.get("find/saved")).json()["saved"]
        assert {s["name"]: s["search"].get("cameras", []) for s in reply} == {"of-all": [], "of-lobby": ["lobby"]}
        for change in (
            program.put("find/saved/new", json={"search": {"text": "x"}}),
            program.delete("find/saved/of-all"),
        ):
            assert (await change).status_code == 403
        assert len((await anna.get("find/saved")).json()["saved"]) == 3


def test_answers_of_several_groups_of_cameras_become_one_ranking() -> None:
    one = [moment("a", 0.9), moment("b", 0.5)]
    two = [moment("c", 0.8), moment("d", 0.7, score=0.9)]
    assert [m.camera for m in merge_answers([one, two], 10)] == ["d", "a", "c", "b"], "found by both comes first"
    assert [m.camera for m in merge_answers([one], 1)] == ["a"] and merge_answers([], 3) == []
