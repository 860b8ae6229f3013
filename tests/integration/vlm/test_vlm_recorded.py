"""Video of a time that MEDIA has expired: the model gets recordings, for every kind of question."""

from __future__ import annotations

import contextlib
import io
from base64 import b64decode
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web
from rich.console import Console

from services.ingest.cutting.piece import Piece
from shared import bus
from shared.contract import names
from shared.contract.events import Summary, Verdict
from shared.contract.questions.search import Found, Moment
from shared.contract.segment import rfc3339
from shared.contract.work import jobs
from tests.support.servers.faulty_search import answering
from tests.support.servers.openai_server import OpenAiServer
from tests.support.servers.openai_server import respond as stream
from tests.support.video.video_world import frames, nearest
from tests.support.worlds.jobs_world import ask, fronting, settled, stored_results, worker
from tests.support.worlds.recorder_world import BEGIN, World, filmed, publish, s, second, world
from tidegate.commands.ask import run

__all__ = ["second", "world"]


class Model(OpenAiServer):
    """shown: the pictures of each question. The reply has their number; for a text, how often it has such replies."""

    def __init__(self) -> None:
        super().__init__(then=self._answer)
        self.shown: list[list[bytes]] = []

    async def _answer(self, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        content = body["messages"][0]["content"]
        urls = [part["image_url"]["url"] for part in content if part["type"] == "image_url"]
        self.shown.append([b64decode(url.partition(",")[2]) for url in urls])
        text = f"{len(urls)} pictures." if urls else f"Out of {content[-1]['text'].count('pictures.')}."
        if "response_format" in body:
            text = (
                '{"answer":"Yes.","frames":[1]}'
                if "question" in content[-1]["text"]
                else '{"verdict":"confirmed","confidence":90,"reason":"So it is."}'
            )
        return await stream(request, text)


@contextlib.asynccontextmanager
async def recorded_model(world: World, second: Sequence[Piece]) -> AsyncIterator[Model]:
    """MEDIA has the last of two and a half minutes, and recordings have the first two."""
    recorder = world.recorder(RECORDER_IDLE_S="300")
    await publish(world.admin, filmed(second, range(150)))
    await world.until_recorded(120)
    await world.admin.jetstream().purge_stream(names.MEDIA, seq=91)
    async with Model() as model, fronting(world.server), worker(world.server, model.url):
        yield model
    assert await recorder.end() == 0


def span(since: float, until: float) -> dict[str, str]:
    return {"since": rfc3339(BEGIN + s(since)), "until": rfc3339(BEGIN + s(until))}


def shows(second: Sequence[Piece], jpeg: bytes, at: float) -> bool:
    """Whether a picture is of the frame of that time, or an adjacent one."""
    (piece,) = filmed(second, [int(at)])
    sent = [luma for _, luma in frames(piece.payload)]
    return abs(nearest(jpeg, sent) - at % 1 * 25) <= 1


@pytest.mark.slow
async def test_a_summary_without_captions_uses_recordings(world: World, second: Sequence[Piece]) -> None:
    async with recorded_model(world, second) as model:
        whole = msgspec.convert(
            await ask(world.admin, kind="summarize", camera="cam", **span(10, 70)), Summary, strict=False
        )
        assert (whole.text, whole.captions, whole.parts, whole.cause) == ("4 pictures.", 0, [], None)
        assert [frame.seq for frame in whole.frames] == [0] * 4
        (pictures,) = model.shown
        assert all(shows(second, jpeg, at) for jpeg, at in zip(pictures, (17.5, 32.5, 47.5, 62.5), strict=True))
        # Half of it is only in MEDIA.
        both = msgspec.convert(
            await ask(world.admin, kind="summarize", camera="cam", **span(30, 150)), Summary, strict=False
        )
        assert both.text == "Out of 2." and [part.text for part in both.parts] == ["4 pictures."] * 2
        times = [(frame.time - BEGIN) / s(1) for frame in both.frames]
        assert all(abs(time - (37.5 + 15 * n)) <= 0.05 for n, time in enumerate(times)) and len(times) == 8
        long = await ask(world.admin, kind="summarize", camera="cam", **span(-3 * 86_400, 70))
        assert (long["start"], long["end"]) == (rfc3339(BEGIN + s(70 - 86_400)), rfc3339(BEGIN + s(70)))
        nobody = await ask(world.admin, kind="summarize", camera="cam", **span(-3600, -3500))
        assert nobody["cause"] == "no_captions" and nobody["text"] == "" and "is not kept in MEDIA" in nobody["reason"]


@pytest.mark.slow
async def test_search_results_in_recordings_are_used_and_saved(
    world: World, second: Sequence[Piece], tmp_path: Path
) -> None:
    at = BEGIN + s(42.4)
    moment = Moment(camera="cam", start=at, end=at, time=at, seq=43, by=["labels"], labels=[], has_video=False)

    async def find(payload: bytes) -> tuple[bytes, dict[str, str]]:
        return msgspec.json.encode(Found(moments=[moment])), {}

    search = await bus.connect(world.server.settings("search"), "search")
    async with recorded_model(world, second) as model, answering(search, find=find):
        question = {"kind": "ask", "camera": "cam", "question": "Who?", "wait_s": 60.0, **span(10, 70)}
        await run(world.admin, question, Console(file=io.StringIO()), as_json=False, save=tmp_path / "seen")
        (pictures,) = model.shown
        assert len(pictures) == 4 and any(shows(second, jpeg, 42.4) for jpeg in pictures)
        saved = sorted((tmp_path / "seen").iterdir())
        assert len(saved) == 4 and any(shows(second, path.read_bytes(), 42.4) for path in saved)
    await search.close()


async def test_a_partially_expired_incident_is_judged_by_all_its_video(world: World, second: Sequence[Piece]) -> None:
    async with recorded_model(world, second) as model:
        job = jobs.Verify(
            camera="cam", incident="i-1", prompt="A tram", segments=list(range(81, 101)), start=BEGIN + s(80),
            end=BEGIN + s(100),
        )  # fmt: skip
        await bus.publish_job(world.admin, job)
        await settled(world.admin)
        ((_, verdict),) = await stored_results(world.admin)
        assert isinstance(verdict, Verdict) and verdict.verdict == "confirmed"
        (pictures,) = model.shown
        assert all(shows(second, jpeg, at) for jpeg, at in zip(pictures, (82.5, 87.5, 92.5, 97.5), strict=True))
