"""Queries for vectors are answered next to the work."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import msgspec
import numpy as np
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

import services.embed.__main__ as embed
from services.embed.settings import EmbedSettings
from shared import bus
from shared.contract import names
from shared.models.vectors import Encoded, TextQuery, unpack
from shared.runtime.errors import BusError
from shared.runtime.telemetry import Health
from tests.support.processes.service import settled
from tests.support.waiting import patience_s
from tests.support.worlds.embed_service import DIMENSION, MODEL, answered, process, videos
from tests.support.worlds.embed_world import embeddings, png, publish, running
from tidegate.demo import clips
from tidegate.local.server import NatsServer

__all__ = ["videos"]


async def test_the_worker_drains_if_queries_fail(server: NatsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    client = await bus.connect(server.settings("embed"), "embed")
    health, stop = Health(), asyncio.Event()

    async def fail(*_: object) -> None:
        async with asyncio.timeout(patience_s()):
            while health.ready:
                await asyncio.sleep(0.02)
        raise BusError("no queries")

    monkeypatch.setattr(embed.queries, "answer", fail)
    with pytest.raises(BusError, match="no queries"):
        await embed.run(EmbedSettings(embed_infer_threads=2), client, health, stop)
    assert health.ready == "draining"
    assert stop.is_set()
    await client.close()


def problem(answer: Msg) -> tuple[str, str]:
    headers = answer.headers or {}
    return headers.get("Nats-Service-Error-Code", ""), headers.get("Nats-Service-Error", "")


async def test_queries_are_discovered_answered_and_counted(server: NatsServer, admin: Client) -> None:
    grey = png(np.full((90, 160, 3), 120, np.uint8))
    async with running(server):
        ping = json.loads((await admin.request("$SRV.PING.tidegate-embed", b"", timeout=patience_s())).data)
        assert ping["metadata"] == {"model": MODEL, "dimension": str(DIMENSION)}
        info = json.loads((await admin.request("$SRV.INFO.tidegate-embed", b"", timeout=patience_s())).data)
        assert {e["subject"] for e in info["endpoints"]} == {names.EMBED_TEXT, names.EMBED_IMAGE}
        answer = await admin.request(names.EMBED_IMAGE, grey, timeout=patience_s())
        encoded = msgspec.json.decode(answer.data, type=Encoded)
        assert (encoded.model, encoded.dimension) == (MODEL, DIMENSION)
        assert np.linalg.norm(unpack(encoded.vector, DIMENSION)) == pytest.approx(1, abs=2e-3)
        for subject, data, code, sentence in (
            (names.EMBED_IMAGE, b"", "400", "no picture"),
            (names.EMBED_IMAGE, b"<svg/>", "400", "a JPEG, PNG, WebP or BMP is expected"),
            (names.EMBED_IMAGE, grey[:100], "400", "can't be decoded"),
            (names.EMBED_IMAGE, png(np.zeros((8001, 8001), np.uint8)), "400", "over 64 megapixels"),
            (names.EMBED_TEXT, b"a tram", "400", 'JSON such as {"text":'),
            (names.EMBED_TEXT, b'{"text": 1}', "400", "Expected `str`"),
            (names.EMBED_TEXT, b'{"text": "a", "k": 1}', "400", "`k`"),
            (names.EMBED_TEXT, b'{"text": "  "}', "400", "is empty"),
            (names.EMBED_TEXT, msgspec.json.encode(TextQuery(text="a" * 2001)), "400", "2000 are the most"),
            (names.EMBED_TEXT, b'{"text": "a tram"}', "422", "set EMBED_MODEL to a CLIP model such as ViT-B-32"),
        ):
            found = problem(await admin.request(subject, data, timeout=patience_s()))
            assert found[0] == code and sentence in found[1], (subject, data[:30], found)
        stats = json.loads((await admin.request("$SRV.STATS.tidegate-embed", b"", timeout=patience_s())).data)
        counted = {e["subject"]: (e["num_requests"], e["num_errors"]) for e in stats["endpoints"]}
        assert counted == {names.EMBED_IMAGE: (5, 4), names.EMBED_TEXT: (6, 6)}
        assert len({e["queue_group"] for e in stats["endpoints"]}) == 1


@pytest.mark.slow
async def test_all_of_many_queries_are_answered_during_work(
    server: NatsServer, admin: Client, videos: list[Path]
) -> None:
    pieces = clips.pieces(videos[0], "lobby")
    pictures = [png(np.full((64, 64, 3), n * 12, np.uint8)) for n in range(20)]
    async with running(server):
        alone = [(await admin.request(names.EMBED_IMAGE, p, timeout=patience_s())).data for p in pictures]
        for n, piece in enumerate(pieces):
            await publish(admin, piece, n)
        answers = await asyncio.gather(*(admin.request(names.EMBED_IMAGE, p, timeout=patience_s()) for p in pictures))
        await settled(admin)
        assert [a.data for a in answers] == alone
        assert len(await embeddings(admin)) == len(pieces)


@pytest.mark.slow
async def test_a_process_for_queries_alone_takes_no_segments_and_is_no_replica(
    server: NatsServer, admin: Client, videos: list[Path]
) -> None:
    await publish(admin, clips.pieces(videos[0], "lobby")[0], 0)
    beats = await admin.subscribe("scale.>")
    async with process(server, EMBED_MODE="queries") as child:
        answer = await answered(admin, names.EMBED_IMAGE, png(np.zeros((9, 9, 3), np.uint8)))
        assert msgspec.json.decode(answer.data, type=Encoded).model == MODEL
        await asyncio.sleep(1.5)
        child.terminate()
        async with asyncio.timeout(patience_s()):
            assert await child.wait() == 0
    info = await admin.jetstream().consumer_info("MEDIA", "embed")
    assert (info.num_pending, info.num_ack_pending) == (1, 0)
    assert beats.pending_msgs == 0
