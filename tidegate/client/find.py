"""Moments by words, by a picture or by what is like one found before, and their video."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec
from nats.aio.client import Client
from nats.aio.msg import Msg

from services.search.query import ClipQuery, Found, Moment, Query
from shared.bus import requests
from shared.bus.requests import NobodyAnswers, Refusal
from shared.contract import names
from shared.runtime.errors import SettingError
from tidegate.client.files import folder, written
from tidegate.client.times import clock, now_here

# The first query after a start waits for the model that encodes it.
ANSWER_S = 60.0
_COVERED = dt.timedelta(seconds=0.5)


async def ask(client: Client, query: Query) -> Found:
    """What the search service finds. Raises TidegateError, with its sentence, where it can't."""
    payload = msgspec.json.encode(query)
    if len(payload) > client.max_payload:
        raise SettingError(
            f"the query has {len(payload) / 2**20:.1f} MB, over the server's max_payload of "
            f"{client.max_payload / 2**20:.1f} MB: give a smaller --image"
        )
    return requests.read((await _request(client, names.FIND, payload)), Found)


async def keep(client: Client, stem: Path, moment: Moment, say: Callable[[str], None]) -> list[Path]:
    """The files written, `stem` with a suffix: the moment's video and its best frame's picture, as far as kept.

    say: is told of what is missing. Raises TidegateError, also if a file can't be written.
    """
    files: dict[str, bytes] = {}
    if moment.kept:
        query = ClipQuery(camera=moment.camera, seq=moment.seq, start=moment.start, end=moment.end)
        try:
            answer = await _request(client, names.FIND_CLIP, msgspec.json.encode(query))
            files[".mp4"] = answer.data
            if short := _short(answer.headers or {}, moment):
                say(f"{stem.name}.mp4 {short}")
        except Refusal as e:
            say(f"no {stem.name}.mp4: {e}")
    if moment.picture:
        files[".jpg"] = moment.picture
    folder(stem.parent)
    paths = [stem.with_name(stem.name + suffix) for suffix in files]
    for path, data in zip(paths, files.values(), strict=True):
        with written(path) as part:
            part.write_bytes(data)
    return paths


async def _request(client: Client, subject: str, payload: bytes) -> Msg:
    try:
        return await requests.ask(client, subject, payload, timeout_s=ANSWER_S)
    except NobodyAnswers as e:
        raise NobodyAnswers(
            f"no search service answers ({e}): start 'tidegate up --search', or run python -m services.search"
        ) from e


def _short(headers: Mapping[str, str], moment: Moment) -> str | None:
    """What to say of a clip that does not cover its moment."""
    start, end = (dt.datetime.fromisoformat(headers[name]) for name in ("Clip-Start", "Clip-End"))
    if start <= moment.start + _COVERED and moment.end - _COVERED <= end:
        return None
    now = now_here()
    return f"covers {clock(start, now)} to {clock(end, now)}: the rest is no longer kept, or too large for one answer"
