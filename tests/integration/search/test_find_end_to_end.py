"""Cameras, cv, embed and search together: a picture, a word and an earlier result lead back to the video."""

from __future__ import annotations

import asyncio
import datetime as dt
import random
from collections.abc import AsyncIterator
from pathlib import Path

import av
import msgspec
import numpy as np
import pytest
import pytest_asyncio
from nats.aio.client import Client
from nats.js import JetStreamContext

from shared.bus import requests
from shared.bus.requests import NobodyAnswers
from shared.client import find, registry
from shared.contract import cameras, names
from shared.contract.questions.search import ClipQuery, Query
from shared.video.pictures import jpeg
from tests.support.waiting import patience_s
from tidegate.demo import footage
from tidegate.demo.bank import Bank
from tidegate.local.scaling.scaled_objects import scaled_object
from tidegate.local.stack import Stack, steady

pytestmark = pytest.mark.slow

RECORD_S = 8.0
LEAST_SEGMENTS = 3
SCENES = ("stop", "crossing", "cab", "alley")


@pytest_asyncio.fixture
async def seen(tmp_path: Path) -> AsyncIterator[tuple[Stack, list[Path]]]:
    """A stack that has seen four scenes for some seconds, and has everything in its index."""
    built = footage.embedded(footage.cache() / f"footage-{footage.VERSION}")
    videos = [p for p in built if p.stem in SCENES]
    scaled = {service: scaled_object(service) for service in ("cv", "embed")}
    async with (
        Bank(videos, tmp_path / "bank") as bank,
        Stack(tmp_path / "data", scaled, steady=steady("--search"), port=0) as stack,
    ):
        js = stack.admin.jetstream()
        for path, url in zip(videos, bank.urls, strict=True):
            entry, secret = cameras.new_camera(url, fps=2)
            await registry.put(js, path.stem, entry, secret)
        await asyncio.sleep(RECORD_S)
        async with asyncio.timeout(patience_s()):
            while not await recorded(js, len(videos)):
                await asyncio.sleep(0.2)
        for path in videos:
            await registry.remove(js, path.stem)
        async with asyncio.timeout(patience_s()):
            # Until search has started, its consumer may have nothing pending.
            while not await answers(stack.admin):
                await asyncio.sleep(0.2)
            for stream, consumer in ((names.MEDIA, "cv"), (names.MEDIA, "embed"), (names.EVENTS, "search")):
                while (i := await js.consumer_info(stream, consumer)).num_pending or i.num_ack_pending:
                    await asyncio.sleep(0.2)
        yield stack, videos


async def recorded(js: JetStreamContext, cameras: int) -> bool:
    """Whether each camera has some segments, even a late one."""
    counts = (await js.stream_info(names.MEDIA, subjects_filter=names.media(">"))).state.subjects or {}
    return len(counts) == cameras and min(counts.values()) >= LEAST_SEGMENTS


async def answers(client: Client) -> bool:
    try:
        await find.ask(client, Query(labels=["person"], k=1))
    except NobodyAnswers:
        return False
    return True


def picture(path: Path, chance: random.Random) -> bytes:
    """A frame from anywhere in the file."""
    with av.open(str(path)) as container:
        frame = chance.choice(list(container.decode(video=0)))
    return jpeg(np.asarray(frame.to_ndarray(format="rgb24"), np.uint8))


async def test_seen_objects_are_found(seen: tuple[Stack, list[Path]], tmp_path: Path) -> None:
    stack, videos = seen
    chance = random.Random(1)
    for n in range(12):
        path = videos[n % len(videos)]
        found = await find.ask(stack.admin, Query(image=picture(path, chance), k=5))
        assert found.moments[0].camera == path.stem, f"picture {n} of {path.stem}"
        assert found.model == "efficientnet_lite3"

    reply = await find.ask(stack.admin, Query(text="a man on a bicycle", k=5))
    assert reply.moments and {"person", "bicycle"} & set(reply.moments[0].labels)
    assert "compares images alone" in (reply.note or "")

    best = (await find.ask(stack.admin, Query(image=picture(videos[0], chance), k=1, picture=True))).moments[0]
    assert best.has_video and best.picture and best.picture.startswith(b"\xff\xd8")
    again = await find.ask(stack.admin, Query(like=best.id, k=1))
    assert again.moments[0].camera == best.camera

    answer = await requests.ask(
        stack.admin,
        names.FIND_CLIP,
        msgspec.json.encode(ClipQuery(camera=best.camera, seq=best.seq, start=best.start, end=best.end)),
        timeout_s=20,
    )
    headers = answer.headers or {}
    start, end = (dt.datetime.fromisoformat(headers[name]) for name in ("Clip-Start", "Clip-End"))
    assert start <= best.time <= end
    file = tmp_path / "clip.mp4"
    file.write_bytes(answer.data)
    with av.open(str(file)) as container:
        shown = [f.time for f in container.decode(video=0)]
    assert shown[-1] == pytest.approx((end - start).total_seconds(), abs=0.2)
    assert shown == sorted(shown)
