"""A moment's video and picture, as files."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Callable, Mapping
from pathlib import Path

from nats.aio.client import Client

from services.console.video.clips import Clip, Clips
from shared.bus.requests import NobodyAnswers
from shared.client import find
from shared.contract.questions.search import ClipQuery, Moment
from shared.runtime.errors import Refusal
from tidegate.client.files import folder, written
from tidegate.client.times import clock, now_here

# Maximum size of one file, in MB.
MOST_MB = 256
_COVERED = dt.timedelta(seconds=0.5)
# A moment may be a single frame.
_LEAST = dt.timedelta(milliseconds=1)


async def keep(client: Client, stem: Path, moment: Moment, say: Callable[[str], None]) -> list[Path]:
    """Write the moment's video and its best frame's picture, as far as they exist; return the files, `stem` with a
    suffix.

    say: reports gaps. Raises TidegateError, also if a file can't be written.
    """
    folder(stem.parent)
    paths: list[Path] = []
    files: dict[str, bytes] = {}
    if not moment.has_video:
        with contextlib.suppress(Refusal, NobodyAnswers):
            path = beside(stem, ".mp4")
            clip = await cut(client, path, moment.camera, moment.start, moment.end + _LEAST)
            paths.append(path)
            if lacking := short(clip, moment.start, moment.end):
                say(f"{path.name} {lacking}")
    else:
        query = ClipQuery(camera=moment.camera, seq=moment.seq, start=moment.start, end=moment.end)
        try:
            answer = await find.clip(client, query)
            files[".mp4"] = answer.data
            if lacking := _short_answer(answer.headers or {}, moment):
                say(f"{stem.name}.mp4 {lacking}")
        except Refusal as e:
            say(f"no {stem.name}.mp4: {e}")
    if moment.picture:
        files[".jpg"] = moment.picture
    for suffix, data in files.items():
        with written(path := beside(stem, suffix)) as part:
            part.write_bytes(data)
        paths.append(path)
    return paths


async def cut(
    client: Client, path: Path, camera: str, since: dt.datetime, until: dt.datetime, option: str = "--save"
) -> Clip:
    """Write the video of [since, until) from MEDIA, and from recordings for expired parts; return what it covers.

    Raises Refusal if there is none, NobodyAnswers if its service stops; SettingError, which names the option, if the
    file can't be written; nats.errors.Error or TimeoutError if the server does not answer.
    """
    clip = await Clips(client, MOST_MB).clip(camera, since, until)
    with written(path, option) as part, part.open("wb") as target:
        async for piece in clip.read():
            target.write(piece)
    return clip


def beside(stem: Path, suffix: str) -> Path:
    """Append a suffix to `stem`, whose own name may have dots."""
    return stem.with_name(stem.name + suffix)


def short(clip: Clip, first: dt.datetime, last: dt.datetime) -> str | None:
    """Describe a clip that does not cover the time from `first` to `last`; None if it does."""
    why = "nobody has the rest" if clip.is_whole else f"the rest is another file, or over {MOST_MB} MB"
    return _lacking(clip.since, clip.until, first, last, why)


def _short_answer(headers: Mapping[str, str], moment: Moment) -> str | None:
    """Describe a search answer in the same way."""
    start, end = (dt.datetime.fromisoformat(headers[name]) for name in ("Clip-Start", "Clip-End"))
    return _lacking(start, end, moment.start, moment.end, "the rest is no longer kept, or too large for one answer")


def _lacking(start: dt.datetime, end: dt.datetime, first: dt.datetime, last: dt.datetime, why: str) -> str | None:
    if start <= first + _COVERED and last - _COVERED <= end:
        return None
    now = now_here()
    return f"covers {clock(start, now)} to {clock(end, now)}: {why}"
