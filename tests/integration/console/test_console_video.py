"""Pictures out of a real MEDIA: each is the requested frame, and no decoder's crash ends the console."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import pytest_asyncio
from nats.aio.client import Client

from services.console.video.pictures import Pictures
from services.console.video.reading import NoVideo
from services.ingest.cutting.piece import Piece
from shared.contract import names
from shared.runtime.errors import Refusal
from shared.runtime.tasks import end
from shared.video.decoding.decoders import MOST_WAITING, Decoders
from shared.video.decoding.work import PictureAnswer
from tests.support.video.video_world import FPS, number, path, pieces, pixels, publish, rounded, s, source
from tests.support.waiting import until

__all__ = ["path", "pieces", "source"]


@pytest_asyncio.fixture
async def decoders() -> AsyncIterator[Decoders]:
    found = Decoders(1)
    task = asyncio.create_task(found.run())
    yield found
    await end(task)
    assert not children()


def children() -> list[psutil.Process]:
    """The decoding child processes."""
    found = psutil.Process().children(recursive=True)
    return [one for one in found if "shared.video.decoding.child" in " ".join(one.cmdline())]


# ---- pictures


async def test_the_newest_keyframe_is_served(
    admin: Client, decoders: Decoders, pieces: list[Piece], source: list[np.ndarray]
) -> None:
    pictures = Pictures(admin, decoders)
    with pytest.raises(NoVideo, match="no video of camera cam") as refused:
        await pictures.picture("cam")
    assert refused.value.code == 404
    await publish(admin, pieces[:4])
    await publish(admin, pieces[4:], "other")
    assert pieces[3].dependent or pieces[2].dependent
    found = await pictures.picture("cam")
    key = max(n for n, piece in enumerate(pieces[:4]) if not piece.dependent)
    assert found.time == rounded(pieces[key].segment.start)
    first = sum(piece.segment.frames for piece in pieces[:key])
    assert number(pixels(found.jpeg), source, first) == first
    assert pixels(found.jpeg).shape == (240, 320, 3)


async def test_the_frame_of_a_time_is_served(
    admin: Client, decoders: Decoders, pieces: list[Piece], source: list[np.ndarray]
) -> None:
    """At any position in its GOP."""
    await publish(admin, pieces)
    pictures = Pictures(admin, decoders)
    start = pieces[0].segment.start
    for n in (0, 1, 60, 99, 100, 180, 249):
        found = await pictures.picture("cam", start + s((n + 0.2) / FPS), width=160)
        assert number(pixels(found.jpeg), source, n) == n
        assert abs((found.time - start).total_seconds() - n / FPS) < 0.002
    with pytest.raises(NoVideo, match="has expired, or there was none"):
        await pictures.picture("cam", start - s(10))
    with pytest.raises(Refusal, match="pixels wide"):
        await pictures.picture("cam", start, width=100_000)
    marked = await pictures.picture("cam", start, boxes=[(0.1, 0.25, 0.5, 0.75)])
    plain = await pictures.picture("cam", start)
    changed = np.argwhere(np.abs(pixels(marked.jpeg).astype(int) - pixels(plain.jpeg)).max(axis=2) > 100)
    assert 55 < changed[:, 0].min() < 65 and 170 < changed[:, 0].max() < 185


async def test_a_partially_expired_gop_has_no_picture(admin: Client, decoders: Decoders, pieces: list[Piece]) -> None:
    seqs = await publish(admin, pieces)
    keys = [n for n, piece in enumerate(pieces) if not piece.dependent]
    await admin.jetstream().purge_stream(names.MEDIA, seq=seqs[keys[0] + 1])
    pictures = Pictures(admin, decoders)
    with pytest.raises(NoVideo, match="has expired"):
        await pictures.picture("cam", pieces[keys[0] + 1].segment.start)
    await pictures.picture("cam", pieces[keys[1]].segment.start)


class Counted(Decoders):
    """Counts the decoded pictures."""

    reads = 0

    async def picture(self, *payload: Any, **wanted: Any) -> PictureAnswer:
        self.reads += 1
        return await super().picture(*payload, **wanted)


async def test_a_picture_is_decoded_once(admin: Client, pieces: list[Piece]) -> None:
    await publish(admin, pieces)
    decoders = Counted(1)
    pictures = Pictures(admin, decoders)
    requests = [asyncio.create_task(pictures.picture("cam")) for _ in range(5)]
    await until(lambda: decoders.reads)
    # An abandoned request takes the picture from no other.
    await end(requests.pop(0))
    running = asyncio.create_task(decoders.run())
    assert len({(await one).jpeg for one in requests}) == 1
    assert decoders.reads == 1
    await end(running)
    assert (await pictures.picture("cam")).jpeg == requests[0].result().jpeg


async def test_an_abandoned_picture_is_not_decoded(admin: Client, pieces: list[Piece]) -> None:
    await publish(admin, pieces)
    decoders = Counted(1)
    pictures = Pictures(admin, decoders)
    request = asyncio.create_task(pictures.picture("cam"))
    await until(lambda: decoders.reads)
    await end(request)
    running = asyncio.create_task(decoders.run())
    # More turns of the loop than a decoder takes to start its process.
    for _ in range(50):
        await asyncio.sleep(0)
    assert not children()
    await end(running)


async def test_pictures_are_cached_up_to_a_size(
    admin: Client, decoders: Decoders, pieces: list[Piece], monkeypatch: pytest.MonkeyPatch
) -> None:
    await publish(admin, pieces)
    monkeypatch.setattr("services.console.video.pictures.MOST_BYTES", 100_000)
    pictures = Pictures(admin, decoders)
    for n in range(30):
        await pictures.picture("cam", pieces[0].segment.start + s(n / FPS))
    remaining = pictures._cache.values()
    assert 0 < sum(len(one.jpeg) for one in remaining) <= 100_000
    assert len(remaining) < 30


# ---- decoding


async def test_the_last_request_is_served_first(pieces: list[Piece]) -> None:
    decoders = Decoders(1)
    done: list[int] = []
    requests = []
    for n in range(4):
        requests.append(asyncio.create_task(decoders.picture(pieces[0].payload, offset=n / FPS, frames=200)))
        requests[-1].add_done_callback(lambda _, n=n: done.append(n))
        await asyncio.sleep(0)
    running = asyncio.create_task(decoders.run())
    await asyncio.gather(*requests)
    assert done == [3, 2, 1, 0]
    assert [round(one.result().offset * FPS) for one in requests] == [0, 1, 2, 3]
    await end(running)


async def test_an_abandoned_answer_is_not_given_to_the_next_request(decoders: Decoders, pieces: list[Piece]) -> None:
    for n in range(8):
        given_up = asyncio.create_task(decoders.picture(pieces[0].payload, offset=0.2, frames=200, width=16 + 2 * n))
        await asyncio.sleep(0.03 * n)
        await end(given_up)
        built = await decoders.picture(pieces[0].payload, offset=n / FPS, frames=200, width=320)
        assert (round(built.offset * FPS), pixels(built.jpeg).shape) == (n, (240, 320, 3))


async def test_too_many_concurrent_requests_are_refused(pieces: list[Piece]) -> None:
    decoders = Decoders(1)
    requests = [asyncio.create_task(decoders.picture(pieces[0].payload, frames=200)) for _ in range(MOST_WAITING + 3)]
    await until(lambda: sum(one.done() for one in requests) == 3)
    for one in requests[:3]:
        with pytest.raises(Refusal, match="too many pictures"):
            await one
    await end(*requests)


async def test_a_dead_decoder_loses_only_one_picture(decoders: Decoders, pieces: list[Piece]) -> None:
    await decoders.picture(pieces[0].payload, frames=200)
    (child,) = children()
    os.kill(child.pid, signal.SIGSTOP)
    request = asyncio.create_task(decoders.picture(pieces[0].payload, frames=200))
    await asyncio.sleep(0.1)
    child.kill()
    with pytest.raises(Refusal, match="more memory or time") as refused:
        await request
    assert refused.value.code == 500
    assert (await decoders.picture(pieces[0].payload, frames=200)).jpeg
    assert children() != [child]


async def test_invalid_video_is_refused_with_a_reason(decoders: Decoders, pieces: list[Piece]) -> None:
    for payload in (b"", b"\0" * 1000, pieces[0].payload[:300], pieces[1].payload):
        with pytest.raises(Refusal, match="there is no picture of this video"):
            await decoders.picture(payload, frames=200)
    (child,) = children()
    assert (await decoders.picture(pieces[0].payload, frames=200)).jpeg
    assert children() == [child]


async def test_a_decoder_is_limited_and_has_no_password(
    decoders: Decoders, pieces: list[Piece], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NATS_PASSWORD", "hidden")
    await decoders.picture(pieces[0].payload, frames=200)
    (child,) = children()
    assert "hidden" not in str(child.environ())
    assert child.rlimit(psutil.RLIMIT_AS)[0] == 3 * 2**30
    assert 30 < child.rlimit(psutil.RLIMIT_CPU)[0] < 120


async def test_a_decoder_ends_with_its_console(tmp_path: Path, pieces: list[Piece]) -> None:
    (tmp_path / "payload").write_bytes(pieces[0].payload)
    script = (
        "import asyncio, sys\n"
        "from pathlib import Path\n"
        "from shared.video.decoding.decoders import Decoders\n"
        "async def main():\n"
        "    decoders = Decoders(1)\n"
        "    running = asyncio.create_task(decoders.run())\n"
        "    await decoders.picture(Path(sys.argv[1]).read_bytes(), frames=200)\n"
        "    print('made', flush=True)\n"
        "    await running\n"
        "asyncio.run(main())\n"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, str(tmp_path / "payload"), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout and await process.stdout.readline() == b"made\n"
    (child,) = children()
    process.kill()
    await until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)
