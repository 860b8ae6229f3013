"""`tidegate find`: moments by words, by a picture or by what is like one found before, and their video."""

from __future__ import annotations

import asyncio
import datetime as dt
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import av
import click
import msgspec
from nats.aio.client import Client
from nats.aio.msg import Msg
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from services.search.query import ClipQuery, Found, Moment, Query
from shared.bus import requests
from shared.bus.requests import NobodyAnswers, Refusal
from shared.contract import names
from shared.runtime.errors import SettingError, TidegateError

# The first query after a start waits for the model that encodes it.
ANSWER_S = 60.0
# Shorter waits need no words.
_QUIET_S = 1.0
# A query's image is scaled to a few hundred pixels by the model that sees it: more bytes than this tell it nothing.
MOST_IMAGE_BYTES = 2 * 2**20
_IMAGE_WIDTH = 1280
_BAR = 8
_COVERED = dt.timedelta(seconds=0.5)

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_AGO = re.compile(r"(?:\d+(?:\.\d+)?[smhd])+")
_CLOCK = re.compile(r"\d{1,2}:\d{2}(?::\d{2})?")


def instant(option: str, text: str, now: dt.datetime) -> dt.datetime:
    """The time that `text` means: `1h30m` ago, `13:05` of today by this machine's clock, or a date with a time.

    option: what it was given for, such as `--since`. Raises SettingError.
    """
    try:
        if _AGO.fullmatch(text):
            parts = re.findall(r"([\d.]+)([smhd])", text)
            return now - sum((dt.timedelta(**{_UNITS[unit]: float(n)}) for n, unit in parts), dt.timedelta())
        if _CLOCK.fullmatch(text):
            time = dt.time.fromisoformat(text.zfill(len("13:05:00") if text.count(":") == 2 else len("13:05")))
            return dt.datetime.combine(now.astimezone().date(), time).astimezone()
        return dt.datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError) as e:
        raise SettingError(
            f"{option} {text!r} is no time: say how long ago (90s, 15m, 1h30m, 2d), a time of today (13:05), or a date "
            "and time (2026-11-24T13:05:00Z; without a zone, this machine's)"
        ) from e


def image(path: Path) -> bytes:
    """A file to search by; a large one as a smaller JPEG. Raises SettingError if it is no image."""
    try:
        return path.read_bytes() if path.stat().st_size <= MOST_IMAGE_BYTES else _shrunk(path)
    except (av.FFmpegError, OSError, ValueError, IndexError, StopIteration) as e:
        raise SettingError(f"--image {path} can't be read ({e}): give a JPEG, PNG or WebP") from e


def _shrunk(path: Path) -> bytes:
    # Only here are pixels needed: asking in words works where numpy is not installed.
    import numpy as np

    from shared.video.pictures import jpeg

    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
    width = min(frame.width, _IMAGE_WIDTH)
    height = max(1, round(frame.height * width / frame.width))
    return jpeg(np.asarray(frame.to_ndarray(format="rgb24", width=width, height=height), np.uint8))


async def run(client: Client, query: Query, out: Console, *, as_json: bool, save: Path | None) -> None:
    """Ask, print what was found, and save its video and pictures in `save`. Raises TidegateError."""
    found = await ask(client, query, out)
    say: Callable[[str], None] = (lambda line: click.echo(line, err=True)) if as_json else _printer(out)
    if not as_json and found.moments:
        out.print(table(found.moments, _now()))
    if not found.moments:
        say(f"nothing found: {looked_for(query)}")
    for line in remarks(found, query):
        say(line)
    for n, moment in enumerate(found.moments, 1):
        stem = save / f"{n:02}-{moment.camera}-{moment.start.astimezone():%Y%m%dT%H%M%S}" if save else None
        saved = await keep(client, stem, moment, say, out) if stem else []
        if as_json:
            click.echo(_row(moment, saved if save else None))
        else:
            for path in saved:
                out.print(str(path), style="bold", markup=False, soft_wrap=True)


async def ask(client: Client, query: Query, out: Console) -> Found:
    """What the search service finds. Raises TidegateError, with its sentence, where it can't."""
    payload = msgspec.json.encode(query)
    if len(payload) > client.max_payload:
        raise SettingError(
            f"the query has {len(payload) / 2**20:.1f} MB, over the server's max_payload of "
            f"{client.max_payload / 2**20:.1f} MB: give a smaller --image"
        )
    return msgspec.json.decode((await _request(client, names.FIND, payload, out, "searching")).data, type=Found)


async def _request(client: Client, subject: str, payload: bytes, out: Console, doing: str) -> Msg:
    asking = asyncio.ensure_future(requests.ask(client, subject, payload, timeout_s=ANSWER_S))
    try:
        await asyncio.wait({asking}, timeout=_QUIET_S if out.is_terminal else None)
        if asking.done():
            return await asking
        with out.status(f"{doing} …"):
            return await asking
    except NobodyAnswers as e:
        raise NobodyAnswers(
            f"no search service answers ({e}): start 'tidegate up --search', or run python -m services.search"
        ) from e


# ---- showing


def _now() -> dt.datetime:
    """With this machine's zone."""
    return dt.datetime.now().astimezone()


def table(moments: Sequence[Moment], now: dt.datetime | None = None) -> Table:
    """One row a moment, times in `now`'s zone. Bars compare within the answer: cosines have no scale."""
    out = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("", "when", "length", "camera", "match"):
        out.add_column(name, no_wrap=True)
    out.add_column("labels")
    out.add_column("video", no_wrap=True)
    # Whole, as --like wants it.
    out.add_column("id", overflow="fold")
    now = now or _now()
    best = max((m.similarity or 0 for m in moments), default=0), max((m.score or 0 for m in moments), default=0)
    for n, m in enumerate(moments, 1):
        share = m.similarity / best[0] if m.similarity and best[0] > 0 else (m.score or 0) / (best[1] or 1)
        out.add_row(
            str(n),
            clock(m.start, now),
            length((m.end - m.start).total_seconds()),
            m.camera,
            Text(f"{'▆' * round(_BAR * max(0.0, share)):<{_BAR}} ", "green").append(_numbers(m), "default"),
            Text(", ".join(m.labels)),
            Text("kept") if m.kept else Text("expired", "dim"),
            Text(m.id or "", "dim"),
        )
    return out


def _numbers(moment: Moment) -> str:
    by = (
        None if moment.similarity is None else f"{moment.similarity:.3f}",
        None if moment.score is None else f"label {moment.score:.2f}",
    )
    return " + ".join(number for number in by if number)


def clock(time: dt.datetime, now: dt.datetime) -> str:
    """`13:05:00` in `now`'s zone, after the date where that is not today's."""
    local = time.astimezone(now.tzinfo)
    return f"{local:%H:%M:%S}" if local.date() == now.date() else f"{local:%Y-%m-%d %H:%M:%S}"


def length(seconds: float) -> str:
    """`4 s`, `1:05`, `1:02:05`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s" if whole else f"{seconds:.1f} s"
    minutes, s = divmod(whole, 60)
    return f"{minutes}:{s:02}" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02}:{s:02}"


def looked_for(query: Query) -> str:
    """What was looked for, and where."""
    now = _now()
    what = repr(query.text) if query.text else "the picture" if query.image else f"what is like {query.like}"
    if not (query.text or query.image or query.like):
        what = f"label {', '.join(query.labels)}"
    elif query.labels:
        what += f" with label {', '.join(query.labels)}"
    where = f"on camera {', '.join(query.cameras)}" if query.cameras else "on all cameras"
    since = f", since {clock(query.since, now)}" if query.since else ""
    until = f", until {clock(query.until, now)}" if query.until else ""
    least = "" if query.min_score is None else f", with a score of {query.min_score:g} or more"
    return f"looked for {what} {where}{since}{until}{least}"


def remarks(found: Found, query: Query) -> list[str]:
    """What else the asker should know, and can try where nothing was found."""
    lines = [found.note] if found.note else []
    if found.pending:
        lines.append(f"{found.pending} events are not in the index yet: ask again in a while")
    asked = bool(query.text or query.image or query.like)
    given = {
        "--camera": query.cameras,
        "--since": query.since,
        "--until": query.until,
        "--label": query.labels and asked,
        "--min-score": query.min_score is not None,
    }
    narrow = [option for option, value in given.items() if value]
    if narrow and not found.moments:
        lines.append(f"try without {' or '.join(narrow)}")
    return lines


def _printer(out: Console) -> Callable[[str], None]:
    return lambda line: out.print(f"[yellow]{escape(line)}[/]", soft_wrap=True)


def _row(moment: Moment, saved: Sequence[Path] | None) -> str:
    row: dict[str, Any] = msgspec.to_builtins(moment)
    del row["picture"]
    if saved is not None:
        row["saved"] = [str(path) for path in saved]
    return msgspec.json.encode(row).decode()


# ---- saving


async def keep(client: Client, stem: Path, moment: Moment, say: Callable[[str], None], out: Console) -> list[Path]:
    """The files written, `stem` with a suffix: the moment's video and its best frame's picture, as far as kept."""
    files: dict[str, bytes] = {}
    if moment.kept:
        query = ClipQuery(camera=moment.camera, seq=moment.seq, start=moment.start, end=moment.end)
        try:
            answer = await _request(
                client, names.FIND_CLIP, msgspec.json.encode(query), out, f"fetching {stem.name}.mp4"
            )
            files[".mp4"] = answer.data
            if short := _short(answer.headers or {}, moment):
                say(f"{stem.name}.mp4 {short}")
        except Refusal as e:
            say(f"no {stem.name}.mp4: {e}")
    if moment.picture:
        files[".jpg"] = moment.picture
    written = []
    try:
        stem.parent.mkdir(parents=True, exist_ok=True)
        for suffix, data in files.items():
            path = stem.with_name(stem.name + suffix)
            path.write_bytes(data)
            written.append(path)
    except OSError as e:
        raise TidegateError(f"{stem.parent} can't be written to ({e.strerror}): choose another folder") from e
    return written


def _short(headers: Mapping[str, str], moment: Moment) -> str | None:
    """What to say of a clip that does not cover its moment."""
    start, end = (dt.datetime.fromisoformat(headers[name]) for name in ("Clip-Start", "Clip-End"))
    if start <= moment.start + _COVERED and moment.end - _COVERED <= end:
        return None
    now = _now()
    return f"covers {clock(start, now)} to {clock(end, now)}: the rest is no longer kept, or too large for one answer"
