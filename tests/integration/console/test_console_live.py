"""Live video: every browser gets decodable video, and a slow one delays nobody."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import json
from collections.abc import AsyncIterator, Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.aio.client import Client

from services.console.video.frames import Chunk
from services.console.video.live import Live
from services.console.video.viewer import MOST_WAITING as MOST_SEGMENTS
from services.console.video.viewer import Viewer
from services.ingest.cutting.piece import Piece
from shared.contract import names
from shared.contract.segment import to_headers
from shared.runtime.tasks import end
from tests.support.video import footage
from tests.support.video.video_world import FPS, dated, frames, path, pieces, publish, rounded, seconds
from tests.support.waiting import until

__all__ = ["path", "pieces", "seconds"]


class Browser:
    """The messages of a browser. A slow one takes a message when the test permits it."""

    def __init__(self, live: Any, sees: Callable[[str], bool] = lambda camera: True, *, slow: bool = False) -> None:
        self.messages: list[dict[str, Any]] = []
        self.media: list[tuple[dict[str, Any], bytes]] = []
        self.room = asyncio.Event()
        if not slow:
            self.room.set()
        self.viewer = Viewer(self._send, live, sees)
        self._task = asyncio.create_task(self.viewer.run())

    async def _send(self, message: bytes | str) -> None:
        await self.room.wait()
        if isinstance(message, str):
            self.messages.append(json.loads(message))
        else:
            size = int.from_bytes(message[:4], "big")
            self.media.append((json.loads(message[4 : 4 + size]), message[4 + size :]))

    def heads(self, kind: str = "media") -> list[dict[str, Any]]:
        return [head for head, _ in self.media if head["kind"] == kind]

    def video(self, camera: str = "cam") -> bytes:
        return b"".join(data for head, data in self.media if head["camera"] == camera)

    async def close(self) -> None:
        self.viewer.close()
        await end(self._task)


@contextlib.asynccontextmanager
async def watching(client: Client, *browsers: dict[str, Any]) -> AsyncIterator[Any]:
    live = Live(client)
    found = [Browser(live, **one) for one in browsers]
    try:
        yield live, *found
    finally:
        for one in found:
            await one.close()
        await live.close()


async def heard(admin: Client, pieces: Sequence[Piece], camera: str = "cam") -> None:
    """Publish segments, some of whose GOPs may have begun in an earlier call."""
    seqs: dict[str, int] = {}
    for piece in pieces:
        key_seq = seqs.get(piece.gop, 1) if piece.dependent else None
        segment = msgspec.structs.replace(piece.segment, key_seq=key_seq, camera=camera)
        ack = await admin.jetstream().publish(names.media(camera), piece.payload, headers=to_headers(segment))
        seqs[piece.segment.message_id] = ack.seq


async def test_a_browser_gets_the_video_of_the_camera(admin: Client, pieces: list[Piece], path: Path) -> None:
    async with watching(admin, {}) as (_, browser):
        await browser.viewer.hear('{"watch": ["cam"]}')
        await begun(admin)
        for n, piece in enumerate(pieces):
            await heard(admin, [piece])
            await until(lambda n=n: len(browser.heads()) == n + 1)
        assert len(browser.heads("init")) == 1
        assert browser.media[0][0]["kind"] == "init"
        shown, source = frames(browser.video()), frames(path.read_bytes())
        assert len(shown) == 250
        assert all(np.array_equal(a, b) for (_, a), (_, b) in zip(shown, source, strict=True))
        heads = browser.heads()
        first = frames(browser.video())[0][0]
        assert [t - first for t, _ in shown] == pytest.approx([n / FPS for n in range(250)], abs=1e-6)
        assert heads[0]["time"] == pytest.approx(first)
        for head, piece in zip(heads, pieces, strict=True):
            # A page shows the capture time of its frame by these.
            start = dt.datetime.fromisoformat(head["start"])
            assert start == rounded(piece.segment.start)
            assert head["time"] - first == pytest.approx(
                (piece.segment.start - pieces[0].segment.start).total_seconds(), abs=0.002
            )
            assert head["duration"] == pytest.approx(piece.segment.duration, abs=0.002)
        assert {head["codec"] for head in heads} == {"avc1.4d400d"}
        assert not browser.messages


async def begun(admin: Client) -> None:
    """Wait until subscriptions of this connection are with the server."""
    for _ in range(3):
        await admin.flush()
        await asyncio.sleep(0.02)


async def test_a_later_viewer_begins_with_a_keyframe(admin: Client, pieces: list[Piece]) -> None:
    keys = [n for n, piece in enumerate(pieces) if not piece.dependent]
    async with watching(admin, {}, {}) as (_, early, late):
        await early.viewer.hear('{"watch": ["cam"]}')
        await begun(admin)
        await heard(admin, pieces[: keys[1] - 1])
        await until(lambda: len(early.heads()) == keys[1] - 1)
        await late.viewer.hear('{"watch": ["cam"]}')
        await heard(admin, pieces[keys[1] - 1 : keys[1] + 1])
        await until(lambda: late.heads())
        assert late.heads()[0]["start"] == to_headers(pieces[keys[1]].segment)["Start"]
        await until(lambda: len(early.heads()) == keys[1] + 1)
        assert late.heads()[0] == early.heads()[-1] | {"dropped": 0}
        # A viewer that comes just after a keyframe gets that one immediately.
        third = Browser(_)
        await third.viewer.hear('{"watch": ["cam"]}')
        await until(lambda: third.heads())
        assert third.heads()[0] == late.heads()[0]
        assert len(frames(third.video())) == pieces[keys[1]].segment.frames
        await third.close()


async def test_the_first_viewer_begins_immediately_at_a_newest_keyframe(
    admin: Client, seconds: Callable[[], list[Piece]]
) -> None:
    found = seconds()
    await publish(admin, found[:5])
    async with watching(admin, {}) as (_, browser):
        await browser.viewer.hear('{"watch": ["cam"]}')
        await until(lambda: browser.heads())
        assert browser.heads()[0]["start"] == to_headers(found[4].segment)["Start"]


async def test_a_slow_browser_misses_whole_gops_and_delays_no_other(admin: Client, pieces: list[Piece]) -> None:
    keys = [n for n, piece in enumerate(pieces) if not piece.dependent]
    async with watching(admin, {"slow": True}, {}) as (_, slow, fast):
        for browser in (slow, fast):
            await browser.viewer.hear('{"watch": ["cam"]}')
        await begun(admin)
        for n, piece in enumerate(pieces):
            await heard(admin, [piece])
            await until(lambda n=n: len(fast.heads()) == n + 1)
        slow.room.set()
        await until(lambda: len(slow.heads()) + sum(h["dropped"] for h in slow.heads()) == len(pieces))
        starts = [to_headers(piece.segment)["Start"] for piece in pieces]
        got = [starts.index(head["start"]) for head in slow.heads()]
        # Each is a keyframe, or follows the one before it.
        assert all(not pieces[n].dependent or n - 1 in got for n in got)
        assert keys[-1] in got
        assert len(got) < len(pieces)
        assert sum(head["dropped"] for head in slow.heads()) == len(pieces) - len(got)


async def test_all_viewers_share_one_read(admin: Client, server: Any, pieces: list[Piece]) -> None:
    live_client = await connect(server)
    try:
        async with watching(live_client, *[{}] * 20) as (_, *browsers):
            for browser in browsers:
                await browser.viewer.hear('{"watch": ["cam"]}')
            await begun(live_client)
            before = live_client.stats["in_bytes"]
            await heard(admin, pieces)
            await until(lambda: all(browser.heads() for browser in browsers))
            await begun(live_client)
            assert live_client.stats["in_bytes"] - before < 2 * sum(len(piece.payload) for piece in pieces)
            assert len({browser.video()[:1000] for browser in browsers}) == 1
    finally:
        await live_client.close()


async def connect(server: Any) -> Client:
    from shared import bus

    return await bus.connect(server.settings("admin"), "admin")


async def test_no_viewer_gets_a_hidden_camera(admin: Client, pieces: list[Piece]) -> None:
    seen = {"cam"}
    async with watching(admin, {"sees": lambda camera: camera in seen}) as (live, browser):
        await browser.viewer.hear('{"watch": ["cam", "vault"]}')
        await until(lambda: browser.messages)
        assert browser.messages == [{"camera": "vault", "error": "there is no camera 'vault'"}]
        await begun(admin)
        await heard(admin, pieces[:1])
        await until(lambda: browser.heads())
        seen.clear()
        await heard(admin, pieces[1:3])
        await until(lambda: len(browser.messages) == 2)
        assert browser.messages[1] == {"camera": "cam", "error": "there is no camera 'cam'"}
        assert len(browser.heads()) == 1
        assert not live._feeds


@pytest.mark.parametrize(
    "message", ["", "{", "[]", '{"watch": "cam"}', '{"watch": ["a b"]}', '{"watch": [1]}', b"\xff\xfe", '{"x": 1}',
                json.dumps({"watch": ["c"] * 65})]
)  # fmt: skip
async def test_an_invalid_message_of_a_browser_is_an_error(admin: Client, message: bytes | str) -> None:
    async with watching(admin, {}) as (_, browser):
        await browser.viewer.hear(message)
        await until(lambda: browser.messages)
        assert "say which cameras you watch" in browser.messages[0]["error"]


async def test_the_watched_cameras_can_change(admin: Client, seconds: Callable[[], list[Piece]]) -> None:
    async with watching(admin, {}) as (live, browser):
        for camera in ("a", "b"):
            await publish(admin, seconds()[:1], camera)
        await browser.viewer.hear('{"watch": ["a"]}')
        await until(lambda: {head["camera"] for head in browser.heads()} == {"a"})
        await browser.viewer.hear('{"watch": ["b", "b"]}')
        await until(lambda: {head["camera"] for head in browser.heads()} == {"a", "b"})
        assert list(live._feeds) == ["b"]
        await publish(admin, seconds()[1:3], "a")
        await publish(admin, seconds()[1:3], "b")
        await until(lambda: len(browser.heads()) == 4)
        assert [head["camera"] for head in browser.heads()] == ["a", "b", "b", "b"]
        await browser.viewer.hear('{"watch": []}')
        assert not live._feeds


async def test_a_camera_without_keyframes_is_reported(admin: Client, seconds: Callable[[], list[Piece]]) -> None:
    found = seconds()
    async with watching(admin, {}) as (live, browser):
        await browser.viewer.hear('{"watch": ["cam"]}')
        await begun(admin)
        for n, piece in enumerate(found[:3]):
            segment = msgspec.structs.replace(piece.segment, recovery=19, key_seq=n or None)
            await admin.jetstream().publish(names.media("cam"), piece.payload, headers=to_headers(segment))
        await until(lambda: browser.messages)
        late = Browser(live)
        await late.viewer.hear('{"watch": ["cam"]}')
        await until(lambda: late.messages)
        assert browser.messages == late.messages == [{"camera": "cam", "pictures": "intra refresh"}]
        assert not browser.media
        await heard(admin, found[3:5])
        await until(lambda: len(browser.heads()) == 2)
        await late.close()


async def test_another_codec_is_announced_before_its_video(
    admin: Client, seconds: Callable[[], list[Piece]], tmp_path: Path
) -> None:
    hevc = dated(footage.make(tmp_path / "v.mp4", codec="libx265", frames=50))
    async with watching(admin, {}) as (_, browser):
        await browser.viewer.hear('{"watch": ["cam"]}')
        await begun(admin)
        for n, piece in enumerate([seconds()[0], hevc[0], hevc[1]]):
            await heard(admin, [piece])
            await until(lambda n=n: len(browser.heads()) == n + 1)
        kinds = [(head["kind"], head["codec"][:4]) for head, _ in browser.media]
        assert kinds == [("init", "avc1"), ("media", "avc1"), ("init", "hvc1"), ("media", "hvc1"), ("media", "hvc1")]
        times = [head["time"] for head in browser.heads()]
        assert all(a < b for a, b in pairwise(times))


async def test_a_damaged_or_missing_segment_ends_its_gop(admin: Client, pieces: list[Piece]) -> None:
    keys = [n for n, piece in enumerate(pieces) if not piece.dependent]
    spoilt = [*pieces]
    spoilt[1] = pieces[1]._replace(payload=b"nonsense")
    async with watching(admin, {}) as (_, browser):
        await browser.viewer.hear('{"watch": ["cam"]}')
        await begun(admin)
        for piece in spoilt:
            if piece is not pieces[keys[1] + 1]:
                await heard(admin, [piece])
                await begun(admin)
        starts = [to_headers(piece.segment)["Start"] for piece in pieces]
        await until(lambda: len(browser.heads()) == 2 + len(pieces) - keys[2])
        got = [starts.index(head["start"]) for head in browser.heads()]
        assert got == [0, keys[1], *range(keys[2], len(pieces))]


class Nothing:
    """Gives no chunks by itself."""

    def watch(self, camera: str, viewer: Viewer) -> None:
        pass

    unwatch = watch


def chunk(seq: int, begins: bool) -> Chunk:
    return Chunk("cam", seq, begins, b"init", "avc1.64001f", dt.datetime.now(dt.UTC), 1.0, float(seq), b"data")


@given(st.lists(st.one_of(st.booleans(), st.none()), max_size=60))
def test_any_browser_gets_decodable_video(script: list[bool | None]) -> None:
    """True: a segment with a keyframe comes, False: one without, None: the browser takes a message."""

    async def run() -> None:
        browser = Browser(Nothing())
        await browser.close()
        viewer = browser.viewer
        await viewer.hear('{"watch": ["cam"]}')
        chunks = {n: chunk(n, step) for n, step in enumerate(script) if step is not None}
        got: list[tuple[int, int]] = []
        for n, step in enumerate([*script, *[None] * 10]):
            if step is not None:
                viewer.offer(chunks[n])
            else:
                for message in viewer._next():
                    assert isinstance(message, bytes)
                    head = json.loads(message[4 : 4 + int.from_bytes(message[:4], "big")])
                    if head["kind"] == "media":
                        got.append((head["seq"], head["dropped"]))
            assert len(viewer._cameras["cam"]._waiting) <= MOST_SEGMENTS
        order = list(chunks)
        for n, (seq, _) in enumerate(got):
            assert chunks[seq].begins or got[n - 1][0] == order[order.index(seq) - 1]
        if got:
            first = next(n for n, one in enumerate(chunks.values()) if one.begins)
            count = sum(dropped for _, dropped in got) + viewer._cameras["cam"]._dropped
            assert count == len(chunks) - first - len(got)
        assert bool(got) == any(one.begins for one in chunks.values())

    asyncio.run(run())
