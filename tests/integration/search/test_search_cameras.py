"""A query over some cameras reveals nothing of the others: neither what they saw, nor that they saw anything."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from nats.aio.client import Client

from shared.bus import requests
from shared.contract import names
from shared.runtime.errors import Refusal
from tests.support.worlds.search_world import detected, embedded, encoder, find, scene, searching, settled
from tidegate.local.server import NatsServer


async def test_labels_are_those_of_the_requested_cameras(server: NatsServer, admin: Client, tmp_path: Path) -> None:
    await detected(admin, "lobby", 0, [("person", 0.9), ("dog", 0.5)])
    await detected(admin, "vault", 0, [("hot dog", 0.9), ("person", 0.9)])
    async with searching(server, tmp_path):
        await settled(admin)
        assert (await find(admin, vocabulary=True)).vocabulary == ["dog", "hot dog", "person"]
        assert (await find(admin, vocabulary=True, cameras=["lobby"])).vocabulary == ["dog", "person"]
        assert (await find(admin, vocabulary=True, cameras=["lobby", "vault"])).vocabulary == [
            "dog",
            "hot dog",
            "person",
        ]
        assert (await find(admin, vocabulary=True, cameras=["cellar"])).vocabulary == []
        assert (await find(admin, labels=["dog"])).vocabulary is None
        both = await find(admin, labels=["dog"], vocabulary=True, cameras=["lobby"])
        assert both.vocabulary == ["dog", "person"] and [m.camera for m in both.moments] == ["lobby"]
    async with searching(server, tmp_path):
        assert (await find(admin, vocabulary=True, cameras=["lobby"])).vocabulary == ["dog", "person"], (
            "after a restart"
        )


async def test_words_match_labels_of_the_requested_cameras(server: NatsServer, admin: Client, tmp_path: Path) -> None:
    """Neither an error nor a lack of results reveals a label that only another camera has seen."""
    await detected(admin, "lobby", 0, [("dog", 0.9)])
    await detected(admin, "vault", 0, [("hot dog", 0.9), ("bus", 0.9)])
    async with searching(server, tmp_path):
        await settled(admin)
        assert [m.camera for m in (await find(admin, text="a hot dog", cameras=["lobby"])).moments] == ["lobby"]
        sentences = []
        for word in ("bus", "sunset"):
            with pytest.raises(Refusal) as refused:
                await find(admin, text=word, cameras=["lobby"])
            sentences.append(str(refused.value).replace(word, "it"))
        assert sentences[0] == sentences[1] and "(seen: dog)" in sentences[0]


async def test_equal_segment_numbers_of_two_cameras_stay_separate(
    server: NatsServer, admin: Client, tmp_path: Path
) -> None:
    await detected(admin, "lobby", 0, [("dog", 0.9), ("cat", 0.5)])
    await detected(admin, "vault", 0, [("person", 0.9), ("cat", 0.9)])
    async with searching(server, tmp_path):
        await settled(admin)
        (moment,) = (await find(admin, labels=["dog", "cat"], cameras=["lobby"])).moments
        assert moment.labels == ["cat", "dog"] and moment.score == pytest.approx(0.7)
        assert not (await find(admin, text="a dog", labels=["person"], cameras=["lobby"])).moments


async def test_a_moment_of_another_camera_counts_as_missing(server: NatsServer, admin: Client, tmp_path: Path) -> None:
    for camera in ("lobby", "street", "vault"):
        await embedded(admin, camera, 0, scene(1))
    async with searching(server, tmp_path), encoder(server, {"x": scene(1)}):
        await settled(admin)
        of = {m.camera: m.id for m in (await find(admin, text="x")).moments}
        found = await find(admin, like=of["lobby"], like_cameras=["lobby", "cellar"])
        assert {m.camera for m in found.moments} == {"street", "vault"}, "they say where it is, not where to look"
        sentences = []
        for id in (of["vault"], "embed/m/MEDIA/x#0"):
            with pytest.raises(Refusal) as refused:
                await find(admin, like=id, like_cameras=["lobby", "street"])
            assert refused.value.code == 400
            sentences.append(str(refused.value).replace(repr(id), "it"))
        assert sentences[0] == sentences[1]
        for query in ({"text": "x", "like_cameras": ["lobby"]}, {"like": "x", "like_cameras": ["a.b"]}):
            with pytest.raises(Refusal, match="like_cameras"):
                await requests.ask(admin, names.FIND, msgspec.json.encode(query), timeout_s=5)
