"""`tidegate ask` and `tidegate summarize`: a question on `svc.ask`, its answer for a person, and what the model saw."""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import msgspec
import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from rich.console import Console
from rich.markup import escape

from shared.bus import requests
from shared.bus.requests import NobodyAnswers
from shared.contract import names, stats
from shared.contract.events import Answer, Said, Summary
from shared.contract.segment import rfc3339
from shared.runtime.errors import TidegateError
from tidegate.client.find import clock, instant

# Beyond the service's own patience, so that it is the one who says why there is no answer.
MARGIN_S = 5.0
SAY_EVERY_S = 1.0
# Pixels of a saved frame's longer side, at most.
PICTURE = 1280


def query(kind: str, given: Mapping[str, Any], **own: str) -> dict[str, Any]:
    """What `svc.ask` is asked, by the command line's options. Raises SettingError."""
    now = dt.datetime.now().astimezone()
    asked: dict[str, Any] = {
        "kind": kind,
        "camera": names.check_camera(given["camera"]),
        "wait_s": given["wait"],
    } | own
    for option in ("since", "until"):
        if given[option]:
            asked[option] = rfc3339(instant(f"--{option}", given[option], now))
    return asked


async def run(client: Client, asked: Mapping[str, Any], out: Console, *, as_json: bool, save: Path | None) -> None:
    """Ask, wait, print the answer, and save the frames it was made from in `save`. Raises TidegateError."""
    answer = await _ask(client, asked, out)
    kind: type[Said] = Summary if asked["kind"] == "summarize" else Answer
    event = msgspec.json.decode(answer.data, type=kind)
    if as_json:
        click.echo(answer.data.decode())
    else:
        _show(event, out)
    if save is not None:
        for path in await _save(client, event, save):
            if not as_json:
                out.print(str(path), style="bold", markup=False, soft_wrap=True)
    if event.cause:
        raise TidegateError(event.reason)


async def _ask(client: Client, asked: Mapping[str, Any], out: Console) -> Msg:
    """The answer; meanwhile a terminal is told what it is waited for."""
    asking = asyncio.create_task(
        requests.ask(client, names.ASK, msgspec.json.encode(asked), timeout_s=asked["wait_s"] + MARGIN_S)
    )
    beats: dict[str, str] = {}
    started = time.monotonic()
    try:
        if out.is_terminal:
            await client.subscribe(names.stats("vlm", "*"), cb=_hear(beats))
            with out.status("asking …") as status:
                while not (await asyncio.wait({asking}, timeout=SAY_EVERY_S))[0]:
                    waited = await _waited_for(client, beats)
                    status.update(escape(f"asking … {time.monotonic() - started:.0f} s, {waited}"))
        return await asking
    except NobodyAnswers as e:
        raise NobodyAnswers(
            f"nobody answers questions ({e}): start 'tidegate up --vlm', or VLM_MODE=front python -m services.vlm"
        ) from e
    finally:
        asking.cancel()


def _hear(beats: dict[str, str]) -> Any:
    async def hear(message: Msg) -> None:
        beat = stats.decode(message.data)
        beats[beat.replica] = beat.state

    return hear


async def _waited_for(client: Client, beats: Mapping[str, str]) -> str:
    """How many jobs are before it, and how the workers do."""
    js = client.jetstream()
    try:
        infos = [await js.consumer_info(names.VLM, consumer) for consumer in names.VLM_CONSUMERS[:2]]
    except (TimeoutError, nats.errors.Error):
        return "the server does not say what for"
    jobs = sum((info.num_pending or 0) + (info.num_ack_pending or 0) for info in infos)
    states = [f"{list(beats.values()).count(s)} {s}" for s in ("ready", "loading") if s in beats.values()]
    return f"{jobs} in work or waiting; workers: {', '.join(states) or 'none yet, the first is being started'}"


def _show(event: Said, out: Console) -> None:
    now = dt.datetime.now().astimezone()
    if isinstance(event, Summary):
        for part in event.parts:
            out.print(f"[bold]{clock(part.start, now)} to {clock(part.end, now)}[/]  {escape(part.text)}")
        out.print(escape(event.text))
        span = f"{clock(event.start, now)} to {clock(event.end, now)}"
        out.print(f"out of {event.captions} captions, {span}, by {event.model}", style="dim")
    elif isinstance(event, Answer):
        if event.text:
            out.print(escape(event.text))
        times = [clock(time, now) for time in event.used or [frame.time for frame in event.frames]]
        if times:
            what = "rests on" if event.used else "was shown"
            out.print(f"{what} {', '.join(times)}; {len(event.frames)} frames, by {event.model}", style="dim")


async def _save(client: Client, event: Said, folder: Path) -> list[Path]:
    """The frames that the model was shown, as far as MEDIA keeps them."""
    from services.vlm.footage import Footage

    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for n, frame in enumerate(await Footage(client, side=PICTURE, threads=1).again(event.frames), 1):
            path = folder / f"{n:02}-{event.camera}-{frame.time.astimezone():%Y%m%dT%H%M%S}.jpg"
            path.write_bytes(frame.jpeg)
            written.append(path)
    except OSError as e:
        raise TidegateError(f"{folder} can't be written to ({e.strerror}): choose another folder") from e
    return written
