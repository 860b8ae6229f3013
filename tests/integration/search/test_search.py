"""The search service over a real server: events in, moments out."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import numpy as np
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from services.search import answers
from services.search.index import Index
from services.search.indexer import MOST_MODELS
from services.search.rows import Hit, Where
from shared import bus
from shared.bus import requests
from shared.bus.requests import NobodyAnswers
from shared.client import dlq
from shared.contract import names, topology
from shared.models import vectors
from shared.runtime.errors import Refusal
from tests.support.waiting import patience_s
from tests.support.worlds.search_process import until
from tests.support.worlds.search_world import (
    BEGAN,
    DIMENSION,
    at,
    detected,
    embedded,
    encoder,
    find,
    rows,
    scene,
    searching,
    settled,
)
from tidegate.local.server import NatsServer


async def test_text_is_found_by_vectors_and_like_finds_the_same_scene(
    server: NatsServer, admin: Client, tmp_path: Path
) -> None:
    for second in range(30):
        await embedded(admin, f"cam-{second // 10}", second, scene(second // 10, second))
    async with searching(server, tmp_path), encoder(server, {"a red door": scene(1)}):
        await settled(admin)
        found = await find(admin, text="a red door", k=3)
        assert [m.camera for m in found.moments] == ["cam-1", *[m.camera for m in found.moments[1:]]]
        best = found.moments[0]
        assert (best.start, best.end, best.hits) == (at(10), at(20), 10)
        assert best.similarity is not None and best.similarity > 0.9 and best.by == ["vectors"]
        assert found.model == "m" and found.pending == 0
        again = await find(admin, like=best.id, k=1)
        assert again.moments[0].camera == "cam-1"
        with pytest.raises(Refusal, match="nothing has the id 'embed/m/MEDIA/x#0'"):
            await find(admin, like="embed/m/MEDIA/x#0")


async def test_labels_are_found_without_any_text_model(server: NatsServer, admin: Client, tmp_path: Path) -> None:
    await detected(admin, "street", 0, [("person", 0.9)])
    await detected(admin, "street", 20, [("person", 0.6), ("bicycle", 0.5), ("person", 0.8)])
    await detected(admin, "street", 40, [("bicycle", 0.95)])
    await detected(admin, "yard", 40, [("dog", 0.95)])
    async with searching(server, tmp_path):
        await settled(admin)
        found = await find(admin, text="a man on a bicycle")
        assert [(m.start, m.by) for m in found.moments] == [
            (at(20), ["labels"]),
            (at(40), ["labels"]),
            (at(0), ["labels"]),
        ], "who has both comes first"
        assert found.moments[0].labels == ["bicycle", "person"] and found.moments[0].score == pytest.approx(0.65)
        assert found.model is None and "labels alone" in (found.note or "")
        only = await find(admin, labels=["dog"], cameras=["yard"])
        assert [m.camera for m in only.moments] == ["yard"] and only.note is None
        with pytest.raises(Refusal, match=r"nobody answers on svc\.embed\.text.*no label seen so far.*bicycle, dog"):
            await find(admin, text="a sunset")
        with pytest.raises(Refusal, match="EMBED_MODE=queries") as refused:
            await find(admin, image="aGVsbG8=")
        assert refused.value.code == 503


async def test_hits_of_words_and_vectors_come_first(server: NatsServer, admin: Client, tmp_path: Path) -> None:
    for second in (0, 20, 40):
        await embedded(admin, "street", second, scene(0, second))
    await detected(admin, "street", 20, [("bicycle", 0.6)])
    async with searching(server, tmp_path), encoder(server, {"a bicycle": scene(0, 40)}):
        await settled(admin)
        found = await find(admin, text="a bicycle")
    best = found.moments[0]
    assert (best.start, best.by, best.score) == (at(20), ["vectors", "labels"], pytest.approx(0.6))
    assert best.similarity is not None and len(found.moments) == 3


async def test_filters_narrow_both_rankings(server: NatsServer, admin: Client, tmp_path: Path) -> None:
    for second in range(0, 60, 10):
        await embedded(admin, f"cam-{second // 10 % 2}", second, scene(0, second))
        await detected(
            admin, f"cam-{second // 10 % 2}", second, [("car" if second < 30 else "bus", 0.5 + second / 200)]
        )
    async with searching(server, tmp_path), encoder(server, {"x": scene(0), "other": scene(1)}):
        await settled(admin)

        async def seconds(**query: object) -> set[float]:
            return {(m.start - BEGAN).total_seconds() for m in (await find(admin, **query)).moments}

        assert await seconds(text="x") == {0, 10, 20, 30, 40, 50}
        assert await seconds(text="x", cameras=["cam-1"]) == {10, 30, 50}
        assert await seconds(text="x", since=at(10), until=at(30)) == {10, 20}
        assert await seconds(text="x", labels=["bus"]) == {30, 40, 50}
        assert await seconds(text="x", labels=["tram"]) == set()
        assert await seconds(labels=["car", "bus"], min_score=0.65) == {30, 40, 50}
        assert await seconds(text="other", min_score=0.9) == set()
        assert len(await seconds(text="x", k=2)) == 2
        assert len((await find(admin, text="x", merge_s=20)).moments) == 2, "one a camera"


async def test_the_number_of_hits_does_not_grow_with_the_labels(
    server: NatsServer, admin: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Regression: each label had the limit of a single one, and a query of a hundred took gigabytes."""
    limits: list[int] = []
    whole = Index.labelled

    def labelled(self: Index, where: Where, limit: int) -> list[Hit]:
        limits.append(limit)
        return whole(self, where, limit)

    monkeypatch.setattr(Index, "labelled", labelled)
    monkeypatch.setattr(answers, "TUNING", answers.QueryTuning(fewest_hits=2, most_hits=100, hits_a_moment=1, wider=50))
    names_of = [f"label {n}" for n in range(20)]
    for second in range(0, 60, 10):
        await detected(admin, "lobby", second, [(name, 0.5) for name in names_of])
    async with searching(server, tmp_path):
        await settled(admin)
        assert len((await find(admin, labels=names_of, k=5)).moments) == 5
        assert limits == [5] * 20
        limits.clear()
        await find(admin, labels=names_of[:2], k=9)
        assert limits == [9, 9]


async def test_vectors_of_two_models_are_never_compared(server: NatsServer, admin: Client, tmp_path: Path) -> None:
    await embedded(admin, "old", 0, scene(0), model="one")
    await embedded(admin, "new", 0, scene(0), model="two")
    wide = vectors.normalise(np.ones(2 * DIMENSION, np.float32))
    await embedded(admin, "wide", 0, wide, model="two-wide")
    async with searching(server, tmp_path), encoder(server, {"x": scene(0)}, model="two"):
        await settled(admin)
        found = await find(admin, text="x")
        assert [m.camera for m in found.moments] == ["new"] and found.model == "two"


async def test_a_repeated_event_is_indexed_once(server: NatsServer, admin: Client, tmp_path: Path) -> None:
    id = await embedded(admin, "lobby", 0, scene(0))
    await detected(admin, "lobby", 0, [("person", 0.5), ("dog", 0.5)])
    for n in range(3):
        # Beyond the stream's window of duplicates, the same event with the same id is stored again.
        headers = {"Nats-Msg-Id": f"late-{n}", "ce-id": id}
        raw = await admin.jetstream().get_msg("EVENTS", 1, direct=True)
        await admin.jetstream().publish("events.embeddings.lobby", raw.data or b"", headers=headers)
    async with searching(server, tmp_path):
        await settled(admin)
    assert rows(tmp_path) == 3


async def test_indexing_resumes_and_rebuilds_on_request(server: NatsServer, admin: Client, tmp_path: Path) -> None:
    await embedded(admin, "lobby", 0, scene(0))
    async with searching(server, tmp_path):
        await settled(admin)
    await embedded(admin, "lobby", 1, scene(0, 1))
    await admin.jetstream().purge_stream("EVENTS", seq=2)
    async with searching(server, tmp_path), encoder(server, {"x": scene(0)}):
        await settled(admin)
        assert (await find(admin, text="x")).moments[0].hits == 2, "what EVENTS has forgotten is still found"
        await topology.renew_consumer(admin.jetstream(), topology.TopologySettings(), "EVENTS", "search")
        async with asyncio.timeout(patience_s()):
            while not (found := await find(admin, text="x")).moments or found.moments[0].hits != 1:
                await asyncio.sleep(0.1)
    assert rows(tmp_path) == 1


async def test_an_invalid_event_is_dead_lettered_and_harms_nobody(
    server: NatsServer, admin: Client, tmp_path: Path
) -> None:
    js = admin.jetstream()
    await js.publish("events.embeddings.lobby", b"{", headers={"ce-id": "broken"})
    await js.publish("events.detections.lobby", b'{"camera": "lobby"}', headers={"ce-id": "half"})
    await embedded(admin, "lobby", 0, scene(0))
    raw = await js.get_msg("EVENTS", 3, direct=True)
    lying = (raw.data or b"").replace(b'"dimension":16', b'"dimension":32')
    await js.publish("events.embeddings.lobby", lying, headers={"ce-id": "lying"})
    await js.publish("events.embeddings.other", raw.data or b"", headers={"ce-id": "elsewhere"})
    await js.publish("events.embeddings.lobby", raw.data or b"")
    async with searching(server, tmp_path):
        await settled(admin)
    assert rows(tmp_path) == 1
    reasons = [x.reason async for x in dlq.entries(admin, "search")]
    wanted = ["not an event of embeddings", "not an event of detections", "32 float16", "says camera", "without its id"]
    assert len(reasons) == len(wanted)
    assert all(any(want in reason for reason in reasons) for want in wanted), reasons


async def test_invented_models_take_no_room_of_others(server: NatsServer, admin: Client, tmp_path: Path) -> None:
    """Regression: each had a table of its own, with five indexes, for ever."""
    await embedded(admin, "lobby", 0, scene(0))
    for n in range(MOST_MODELS + 10):
        await embedded(admin, "lobby", 1 + n, scene(0), model=f"made-up-{n}")
    last = await embedded(admin, "lobby", 100, scene(0))
    async with searching(server, tmp_path), encoder(server, {"x": scene(0)}):
        await settled(admin)
        found = await find(admin, text="x")
        assert f"{last}#0" in {m.id for m in found.moments} and found.model == "m"
    assert rows(tmp_path) == MOST_MODELS + 1
    reasons = [x.reason async for x in dlq.entries(admin, "search")]
    assert len(reasons) == 11 and all(f"{MOST_MODELS} models have vectors" in reason for reason in reasons)


async def test_events_of_the_future_are_not_indexed(server: NatsServer, admin: Client, tmp_path: Path) -> None:
    """It would outlive all real events: the oldest rows beyond SEARCH_MAX_BYTES are dropped."""
    await embedded(admin, "lobby", 0, scene(0))
    await embedded(admin, "lobby", 30 * 86_400, scene(0))
    await detected(admin, "lobby", 30 * 86_400, [("person", 0.5)])
    async with searching(server, tmp_path):
        await settled(admin)
    assert rows(tmp_path) == 1
    reasons = [x.reason async for x in dlq.entries(admin, "search")]
    assert len(reasons) == 2 and all("a clock is wrong" in reason for reason in reasons)


async def test_an_event_that_cannot_be_dead_lettered_yet_blocks_no_other(
    server: NatsServer, admin: Client, tmp_path: Path
) -> None:
    js = admin.jetstream()
    config = (await js.consumer_info(names.EVENTS, "search")).config
    await js.delete_consumer(names.EVENTS, "search")
    config.ack_wait = 1.0
    await js.add_consumer(names.EVENTS, config)
    dead_letters = (await js.stream_info(names.DLQ)).config
    await js.delete_stream(names.DLQ)
    await js.publish("events.embeddings.lobby", b"no event", headers={"Nats-Msg-Id": "bad"})
    await embedded(admin, "lobby", 1, scene(1))
    async with searching(server, tmp_path / "index"):
        await until(lambda: (tmp_path / "index").exists() and rows(tmp_path / "index") == 1)
        await js.add_stream(dead_letters)
        await settled(admin)
    assert len([x async for x in dlq.entries(admin, "search")]) == 1


BAD_QUERIES: list[tuple[bytes, str]] = [
    (b"", "can't be read"),
    (b"a man", "can't be read"),
    (b"{}", "asks for nothing: give one of text, image and like, or labels"),
    (b'{"text": ""}', r"length >= 1.*\$\.text"),
    (b'{"text": 3}', r"Expected `str \| null`, got `int`.*\$\.text"),
    (b'{"text": "x", "like": "y"}', "asks by text and like"),
    (b'{"text": "x", "cameras": "lobby"}', r"Expected `array`.*\$\.cameras"),
    (b'{"text": "x", "cameras": ["a.b"]}', r"\$\.cameras\[0\]"),
    (b'{"text": "x", "since": "yesterday"}', r"RFC3339.*\$\.since"),
    (b'{"text": "x", "since": "2026-11-24T13:00:00"}', r"timezone.*\$\.since"),
    (b'{"text": "x", "since": "2026-11-24T13:00:00Z", "until": "2026-11-24T12:00:00Z"}', "is not before until"),
    (b'{"text": "x", "k": 0}', r"\$\.k"),
    (b'{"text": "x", "min_score": 2}', r"\$\.min_score"),
    (b'{"text": "x", "zones": ["door"]}', "unknown field `zones`"),
    (b'{"image": "no base64!"}', r"base64.*\$\.image"),
]


async def test_a_malformed_query_gets_its_mistake(server: NatsServer, admin: Client, tmp_path: Path) -> None:
    async with searching(server, tmp_path):
        for payload, sentence in BAD_QUERIES:
            with pytest.raises(Refusal, match=sentence) as refused:
                await requests.ask(admin, names.FIND, payload, timeout_s=5)
            assert refused.value.code == 400, payload
        with pytest.raises(Refusal, match="the query can't be read"):
            await requests.ask(admin, names.FIND_CLIP, b'{"camera": "lobby"}', timeout_s=5)


async def test_invented_status_codes_of_embed_create_no_metrics(
    server: NatsServer, admin: Client, tmp_path: Path
) -> None:
    embed = await bus.connect(server.settings("embed"), "embed")
    codes = iter(["9" * 5000, "x", "\u0661\u0662\u0663", "200", "7", "418"])

    async def refuse(request: Msg) -> None:
        headers = {"Nats-Service-Error": "no\x1b[2J", "Nats-Service-Error-Code": next(codes)}
        await embed.publish(request.reply, b"", headers=headers)

    await embed.subscribe(names.EMBED_IMAGE, cb=refuse)
    await embed.flush()
    async with searching(server, tmp_path):
        found = []
        for _ in range(6):
            with pytest.raises(Refusal) as refused:
                await find(admin, image="/9j/")
            found.append((refused.value.code, str(refused.value)))
    assert found == [(500, "no [2J")] * 5 + [(418, "no [2J")]
    await embed.close()


async def test_the_service_is_discovered_and_counts_its_requests(
    server: NatsServer, admin: Client, tmp_path: Path
) -> None:
    async with searching(server, tmp_path):
        with pytest.raises(Refusal):
            await requests.ask(admin, names.FIND, b"{", timeout_s=5)
        answer = await admin.request("$SRV.STATS.tidegate-search", b"", timeout=patience_s())
        stats = msgspec.json.decode(answer.data)
        assert {e["subject"] for e in stats["endpoints"]} == {"svc.find", "svc.find.clip"}
        assert sum(e["num_errors"] for e in stats["endpoints"]) == 1
        finder = await bus.connect(server.settings("finder"), "finder")
        assert (await finder.request("$SRV.PING", b"", timeout=patience_s())).data
        with pytest.raises(Refusal, match="asks for nothing"):
            await requests.ask(finder, names.FIND, b"{}", timeout_s=5)
        await finder.close()
    with pytest.raises(NobodyAnswers):
        await requests.ask(admin, names.FIND, b"{}", timeout_s=5)
