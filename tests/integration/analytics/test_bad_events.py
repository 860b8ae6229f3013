"""Events that no service publishes, from a holder of the right: each is dead-lettered, and the others are processed."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nats.aio.client import Client

from services.search.index import Index
from services.search.tables import Tables
from shared import bus
from shared.bus.log import Log
from shared.client import dlq
from shared.contract import events, names, topology
from shared.contract.events import Detections, Embeddings, Tracks, Vector
from shared.models import vectors
from shared.runtime.errors import BadMessage
from tests.support.examples import examples
from tests.support.processes import service
from tests.support.servers import raw_messages as raw
from tests.support.video.walking_people import detections
from tests.support.video.walking_people import publish as detect
from tests.support.waiting import patience_s, until
from tests.support.worlds.analytics_world import ACROSS, RULES, alone, running, use
from tests.support.worlds.analytics_world import until as heard
from tests.support.worlds.search_world import DIMENSION, TIMING, embedded, find, rows, scene, searching
from tidegate.local.server import NatsServer

REF = {"stream": "MEDIA", "seq": 7, "epoch": "e", "n": 3}
BOX = [0.1, 0.1, 0.2, 0.5]
AT = "2026-11-24T13:00:00.000Z"
NOON = dt.datetime.fromisoformat(AT)


def detection(**fields: Any) -> dict[str, Any]:
    """An event of cv, as JSON."""
    frame = {"time": AT, "objects": [{"label": "dog", "score": 0.5, "box": BOX}]}
    timing = {"queued_ms": 1, "decode_ms": 1, "infer_ms": 1}
    whole = {"camera": "lobby", "segment": REF, "start": AT, "duration": 1.0, "model": "m", "frames": [frame]}
    return whole | {"timing": timing} | fields


def embedding(**fields: Any) -> dict[str, Any]:
    """An event of embed, as JSON."""
    event = Embeddings(
        camera="lobby", segment=msgspec.convert(REF, events.SegmentRef), start=NOON, duration=1.0, model="m",
        dimension=DIMENSION, vectors=[Vector(time=NOON, vector=vectors.pack(scene(1)))], timing=TIMING,
    )  # fmt: skip
    whole: dict[str, Any] = json.loads(events.encode(event))
    return whole | fields


def segment(**fields: Any) -> dict[str, Any]:
    return {"segment": REF | fields}


# Neither an event of detections nor one of embeddings.
OF_BOTH: tuple[dict[str, Any], ...] = (
    *(segment(seq=n) for n in (2**53 + 1, 2**63 - 1, 2**63, 2**64, 10**400, -1, 1.5, "7", None)),
    *(segment(n=n) for n in (2**63, -1, True)),
    *(segment(epoch=text) for text in ("", "x" * 257)),
    segment(stream="x" * 10_000),
    *({"duration": s} for s in (1e19, 1e300, -1.0, 3601, "1", None, [])),
    *(
        {"start": t}
        for t in (
            *("1969-12-31T23:59:59Z", "2101-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00+14:00"),
            *(
                "0001-01-01T00:00:00Z",
                "9999-12-31T23:59:59-14:00",
                "2026-11-24T13:00:00",
                "yesterday",
                "",
                0,
                1e18,
                None,
            ),
        )
    ),
    *({"camera": camera} for camera in ("", "other", "a.b", "x" * 65, "lobby\n", 3, None)),
    *({"model": model} for model in ("x" * 257, None, 3)),
    {"timing": {"queued_ms": 1e300, "decode_ms": 1, "infer_ms": 1}},
)
# Invalid JSON, and JSON that its reader refuses.
NO_JSON = (
    *(b"", b"{", b"null", b"[]", b"3", b'"x"', b"\xff\xfe", b'{"camera": "\xff"}', b"[" * 200_000, b'{"a":' * 200_000),
    *(b'{"camera": "lobby"}', b'{"camera": NaN}', b"\x00" * 1000, b'"\\ud800"', b"1e999999"),
)
OF_DETECTIONS: tuple[dict[str, Any], ...] = (
    *({"frames": [{"time": AT, "objects": [{"label": "dog", "score": 0.5, "box": box}]}]} for box in (
        [0, 0, 0], [0, 0, 0, 1.1], [-0.1, 0, 1, 1], [1e300] * 4, [None] * 4, "box", {}
    )),
    *({"frames": [{"time": AT, "objects": [{"label": label, "score": score, "box": BOX}]}]} for label, score in (
        ("x" * 65, 0.5), ("dog", 1.5), ("dog", -1), ("dog", 1e300), (3, 0.5), (None, 0.5)
    )),
    {"frames": [{"time": "9999-12-31T23:59:59Z", "objects": []}]},
    {"frames": [{"time": AT, "objects": []}] * 3601},
    {"frames": None},
    {"width": 2**63},
    {"height": 0},
)  # fmt: skip
OF_EMBEDDINGS: tuple[dict[str, Any], ...] = (
    *({"dimension": n} for n in (0, -1, 2**63, 65_537, 17, 1.5)),
    *({"vectors": [{"time": AT, "vector": v}]} for v in (
        "", "AA==", "no base64", "AAAA" * 8, "/38" * 11, 3, None, "fPx8" * 11
    )),
    {"vectors": [{"time": "1969-01-01T00:00:00Z", "vector": "AAAA"}]},
    {"model": "a/../b"},
    {"model": ""},
)  # fmt: skip


def bodies(whole: Callable[..., dict[str, Any]], given: Sequence[dict[str, Any]]) -> list[bytes]:
    return [*NO_JSON, *(json.dumps(whole(**fields)).encode() for fields in given)]


BAD_DETECTIONS, BAD_EMBEDDINGS = bodies(detection, OF_BOTH + OF_DETECTIONS), bodies(embedding, OF_BOTH + OF_EMBEDDINGS)


def test_the_examples_are_valid_before_their_change() -> None:
    for kind, whole in ((Detections, detection()), (Embeddings, embedding())):
        assert events.decode(json.dumps(whole).encode(), kind, f"events.{kind.kind}.lobby").camera == "lobby"


@pytest.mark.parametrize("kind", events.KINDS, ids=lambda kind: kind.kind)
def test_every_number_and_text_of_an_event_is_bounded(kind: type[events.Event]) -> None:
    """The schema has the bounds, so that authors of other readers know them too."""
    schema = events.json_schema()["$defs"]

    def look(what: dict[str, Any], where: str) -> None:
        of = what.get("type")
        if of in ("integer", "number"):
            assert {"minimum", "exclusiveMinimum"} & set(what) and "maximum" in what, where
        elif of == "string" and "enum" not in what:
            assert {"maxLength", "pattern", "format", "contentEncoding"} & set(what), where
        elif of == "array":
            assert "maxItems" in what, where
        elif of == "object" and "additionalProperties" in what:
            assert "maxProperties" in what or where.count(".") > 1, where
        for key, inner in what.items():
            for n, item in enumerate(inner if isinstance(inner, list) else [inner]):
                if isinstance(item, dict):
                    for name, value in item.items() if key == "properties" else [("", item)]:
                        look(value, f"{where}.{name}[{n}]")

    seen, todo = set(), [kind.__name__]
    while todo:
        name = todo.pop()
        seen.add(name)
        look(schema[name], name)
        todo += [d for d in schema if f'"#/$defs/{d}"' in json.dumps(schema[name]) and d not in seen]


# ---- search


async def test_no_bad_event_stops_search(server: NatsServer, admin: Client, tmp_path: Path) -> None:
    """Good events lie between: search finds all of them, and dead-letters all others with a reason."""
    js = admin.jetstream()
    bad = [("events.detections.lobby", body) for body in BAD_DETECTIONS]
    bad += [("events.embeddings.lobby", body) for body in BAD_EMBEDDINGS]
    async with searching(server, tmp_path / "index", search_batch_size=64):
        for n, (subject, body) in enumerate(bad):
            await js.publish(subject, body, headers={"ce-id": f"bad/{n}"})
            if n % 10 == 0:
                await embedded(admin, "lobby", n, scene(n))
        many = [b"X-%d: " % n + b"x" * 1000 for n in range(55)]
        for block in (b"NATS/1.0 404 \xff\r\n\r\n", b"NATS/1.0\r\nce-id: " + b"i" * 600 + b"\r\n\r\n", raw.block(many)):
            await raw.store(admin, b"events.detections.lobby", block, json.dumps(detection()).encode())
        for subject in (b"events.detections.\xff", b"events.embeddings.a.b", b"events.detections.\x01\x1b"):
            await raw.store(admin, subject, raw.block([b"ce-id: x"]), json.dumps(detection()).encode())
        await service.settled(admin, names.EVENTS, "search")
        found = [x async for x in dlq.entries(admin, "search")]
        assert len(found) == len(bad) + 6
        assert rows(tmp_path / "index") == len(range(0, len(bad), 10))
        assert (await find(admin, labels=["dog"])).moments == []
    assert all(x.reason and x.payload is not None for x in found)


async def test_an_event_replaces_no_row_of_another_kind(server: NatsServer, admin: Client, tmp_path: Path) -> None:
    """A message id is for the stream alone: rows have the event's own id, and each kind has its own."""
    js = admin.jetstream()
    async with searching(server, tmp_path / "index"):
        fields = {"ce-id": "cv/m/MEDIA/7"}
        await js.publish("events.embeddings.lobby", json.dumps(embedding()).encode(), headers=fields)
        await service.settled(admin, names.EVENTS, "search")
        await js.publish("events.detections.lobby", json.dumps(detection()).encode(), headers=fields)
        again = fields | {"Nats-Msg-Id": "another"}
        await js.publish("events.detections.lobby", json.dumps(detection()).encode(), headers=again)
        await service.settled(admin, names.EVENTS, "search")
        (moment,) = (await find(admin, labels=["dog"])).moments
    assert moment.labels == ["dog"] and rows(tmp_path / "index") == 2


@pytest.mark.parametrize("kinds", [("culprit",), ("culprit", "other culprit")])
async def test_a_failing_batch_is_halved_until_the_culprit_is_dead_lettered(
    server: NatsServer, admin: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kinds: tuple[str, ...]
) -> None:
    """An unforeseen error must not stop the others: an injected one stands for it."""
    whole = Index.add

    def add(self: Index, vectors: Any, labels: Any) -> None:
        if any(row.label in kinds for row in labels):
            raise ZeroDivisionError
        whole(self, vectors, labels)

    monkeypatch.setattr(Index, "add", add)
    js = admin.jetstream()
    for n in range(60):
        label = {17: "culprit", 41: "other culprit"}.get(n, "dog")
        frame = {"time": AT, "objects": [{"label": label, "score": 0.5, "box": BOX}]}
        body = json.dumps(detection(frames=[frame])).encode()
        await js.publish("events.detections.lobby", body, headers={"ce-id": f"cv/m/MEDIA/{n}"})
    async with searching(server, tmp_path / "index") as health:
        await service.settled(admin, names.EVENTS, "search")
        await until(lambda: health.ready is None)
    found = [x async for x in dlq.entries(admin, "search")]
    assert [x.stream_seq for x in found] == [18, 42][: len(kinds)]
    assert all("ZeroDivisionError" in x.reason for x in found)
    assert rows(tmp_path / "index") == 60 - len(kinds)


async def test_an_unwritable_index_blames_no_event(
    server: NatsServer, admin: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This holds also for an event that is retried just before the index is writable again."""
    add, try_out = Index.add, Tables.try_out
    tried = 0

    def full(self: Index, *given: Any) -> None:
        if tried < 3:
            raise OSError("no space left")
        add(self, *given)

    def full_until_then(self: Tables, size: int) -> None:
        nonlocal tried
        tried += 1
        if tried < 3:
            raise OSError("no space left")
        try_out(self, size)

    monkeypatch.setattr(Index, "add", full)
    monkeypatch.setattr(Tables, "try_out", full_until_then)
    await embedded(admin, "lobby", 1, scene(1))
    async with searching(server, tmp_path / "index") as health:
        await until(lambda: "no space left" in (health.ready or ""))
        await service.settled(admin, names.EVENTS, "search")
    assert tried == 3
    assert [x async for x in dlq.entries(admin)] == [] and rows(tmp_path / "index") == 1


# ---- analytics


async def test_no_bad_event_stops_analytics(server: NatsServer, admin: Client) -> None:
    """It stops neither its camera nor its partition's checkpoint: the next process continues from it."""
    await use(admin, "lobby", RULES)
    js = admin.jetstream()
    given = detections([ACROSS], 14)
    verdicts = (*NO_JSON, *(json.dumps(fields).encode() for fields in OF_BOTH))
    many = [b"X-%d: " % n + b"x" * 1000 for n in range(55)]

    async def all_bad() -> int:
        for body in BAD_DETECTIONS:
            await js.publish("events.detections.lobby", body)
        for body in verdicts:
            await js.publish("events.verdicts.lobby", body)
        for block in (b"NATS/1.0 404 \xff\r\n\r\n", raw.block(many)):
            await raw.send(admin, b"events.detections.lobby", block, b"{}")
        for subject in (b"events.detections.\xff", b"events.detections.\x01\x1b", b"events.verdicts.\xff"):
            await raw.send(admin, subject, raw.block([]), b"{}")
        return len(BAD_DETECTIONS) + 4

    async with running(server, analytics_checkpoint_s=0.2):
        count = await all_bad()
        await detect(admin, given[:7])
        await heard(admin, lambda f: any(isinstance(e, Tracks) for e in f))
        await until_letters(admin, count)
    async with running(server, analytics_checkpoint_s=0.2):
        count += await all_bad()
        await detect(admin, given[7:])
        found = await heard(admin, lambda f: len(f) >= len(alone("lobby", given)))
        await until_letters(admin, count)
    assert {id: events.encode(e) for id, e in found} == alone("lobby", given)


async def until_letters(admin: Client, count: int) -> None:
    async with asyncio.timeout(patience_s()):
        while len([x async for x in dlq.entries(admin, "analytics")]) < count:
            await asyncio.sleep(0.1)


async def test_an_event_too_large_for_the_dead_letters_is_dead_lettered_without_payload(
    server: NatsServer, admin: Client, tmp_path: Path
) -> None:
    """Regression: it blocked search through endless redelivery, and restarted analytics each time."""
    js = admin.jetstream()
    config = (await js.stream_info(names.DLQ)).config
    config.max_msg_size = 4000
    await js.update_stream(config)
    body = b"{" + b" " * 5000
    async with searching(server, tmp_path / "index"), running(server):
        await js.publish("events.detections.lobby", body, headers={"ce-id": "x"})
        await service.settled(admin, names.EVENTS, "search")
        await until_letters(admin, 1)
        found = {x.service: x async for x in dlq.entries(admin)}
    assert set(found) == {"search", "analytics"} and found["search"].payload == body
    assert "not an event of detections" in found["analytics"].reason and found["analytics"].payload is None


# ---- any event at all

numbers = st.one_of(st.integers(), st.sampled_from([2**31, 2**53, 2**63, 2**64, -1]), st.floats(), st.integers(-3, 3))
things = st.recursive(
    st.one_of(
        st.none(), st.booleans(), numbers, st.text(max_size=5), st.sampled_from([AT, "lobby", "x" * 300, "\ud800"])
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)),
    max_leaves=6,
)


@st.composite
def mutated(draw: st.DrawFn, whole: Callable[..., dict[str, Any]]) -> bytes:
    """An event with one value, anywhere in it, replaced, or with changed bytes."""
    event = json.loads(json.dumps(whole()))
    if draw(st.booleans()):
        place: Any = event
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            key = draw(st.sampled_from(keys))
            if not isinstance(place[key], (dict, list)) or not place[key] or draw(st.booleans()):
                break
            place = place[key]
        place[key] = draw(things)
        return json.dumps(event).encode("utf-8", "surrogatepass")
    data = bytearray(json.dumps(event).encode())
    for _ in range(draw(st.integers(1, 4))):
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    return bytes(data[: draw(st.integers(0, len(data)))]) if draw(st.booleans()) else bytes(data)


@pytest.mark.slow
@settings(max_examples=examples(2000))
@given(mutated(detection), mutated(embedding))
def test_any_bytes_decode_to_an_event_or_a_bad_message(one: bytes, other: bytes) -> None:
    for body, kind in ((one, Detections), (other, Embeddings), (one, events.Verdict), (other, events.CameraStatus)):
        try:
            found = events.decode(body, kind, f"events.{kind.kind}.lobby")
        except BadMessage:
            continue
        assert events.decode(events.encode(found), kind).camera == "lobby"


@pytest.mark.slow
@settings(max_examples=examples(5), suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.lists(mutated(detection), min_size=60, max_size=60), st.lists(mutated(embedding), min_size=60, max_size=60))
def test_any_events_leave_search_and_analytics_at_work(tmp_path: Path, ones: list[bytes], others: list[bytes]) -> None:
    async def go() -> None:
        folder = tmp_path / os.urandom(8).hex()
        async with NatsServer(folder / "nats") as server:
            admin = await bus.connect(server.settings("admin"), "admin")
            try:
                await topology.apply(admin.jetstream(), topology.TopologySettings())
                await use(admin, "yard", RULES)
                async with searching(server, folder / "index"), running(server):
                    await among(server, admin, ones, others)
                async with Log(admin, names.EVENTS) as log:
                    fields = {s.headers["ce-id"] for s in await log.all("events.*.yard") if "ce-id" in s.headers}
            finally:
                await admin.close()
        assert set(alone("yard", detections([ACROSS], 14, camera="yard"))) <= fields

    async def among(server: NatsServer, admin: Client, ones: list[bytes], others: list[bytes]) -> None:
        good = detections([ACROSS], 14, camera="yard")
        for n, (one, other) in enumerate(zip(ones, others, strict=True)):
            head = {"ce-id": f"any/{n}"}
            await admin.jetstream().publish("events.detections.lobby", one, headers=head)
            await admin.jetstream().publish("events.embeddings.lobby", other, headers=head)
            if n < len(good):
                await detect(admin, [good[n]])
        expected = len(alone("yard", good))
        await heard(admin, lambda f: len([e for e in f if e.camera == "yard"]) >= expected)
        await embedded(admin, "yard", 3, scene(3))
        await service.settled(admin, names.EVENTS, "search")
        assert (await find(admin, labels=["person"], cameras=["yard"])).moments

    asyncio.run(go())
