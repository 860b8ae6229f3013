"""`tidegate ask`: a question about a camera's video."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from nats.aio.msg import Msg
from rich.console import Console
from rich.text import Text

from shared.bus import requests
from shared.bus.client import Connection
from shared.client import ask as ask_client
from shared.client import registry
from shared.contract import names
from shared.contract.events import Answer, Summary, VlmResult
from shared.contract.segment import rfc3339
from shared.contract.work.stats import WorkerStats
from shared.runtime.errors import Refusal, TidegateError
from shared.runtime.plain import inert
from tidegate.client.files import folder, written
from tidegate.client.times import clock, instant, now_here
from tidegate.commands.options import FOLDER, screen, stretch_options, with_admin
from tidegate.local import problems
from tidegate.local.running import default_data
from tidegate.view.inert import echo, one_line
from tidegate.view.waiting import telling

PROGRESS_EVERY_S = 1.0
# The code of a refusal when the time is up, as in HTTP.
NO_ANSWER = 504
# Maximum pixels of a saved frame's longer side.
PICTURE = 1280


@click.command()
@stretch_options
@click.argument("question")
@click.option("--save", type=FOLDER, help="Folder to save the model's input frames in.")
def ask(data: Path | None, question: str, save: Path | None, as_json: bool, **options: Any) -> None:
    """Ask a vision language model QUESTION about a camera's video, by default the last minute.

    \b
    The present:            tidegate ask "is anybody at the door?" --camera door
    A time in the past:     tidegate ask "what did the van bring?" --camera yard --since 13:05 --until 13:10
    Save its evidence:      tidegate ask "is the gate open?" --camera gate --save seen/

    The command needs 'tidegate up --vlm'. MEDIA stores video for ten minutes by default; recordings store it longer.
    """
    request = query("ask", options, question=question)
    with_admin(data, lambda client: run(client, request, screen(), as_json=as_json, save=save, data=data))


def query(kind: str, options: Mapping[str, Any], **extra: str) -> dict[str, Any]:
    """Return the request for `svc.ask` from the command line's options. Raise SettingError."""
    now = now_here()
    request: dict[str, Any] = {
        "kind": kind,
        "camera": names.check_camera(options["camera"]),
        "wait_s": options["wait"],
    } | extra
    for option in ("since", "until"):
        if options[option] is not None:
            request[option] = rfc3339(instant(f"--{option}", options[option], now))
    return request


async def run(
    client: Connection,
    request: Mapping[str, Any],
    out: Console,
    *,
    as_json: bool,
    save: Path | None,
    data: Path | None = None,
) -> None:
    """Send the request, print the answer, and save its frames in `save`. data: of the local stack. Raise
    TidegateError.
    """
    answer = await _wait_for_answer(client, request, data)
    kind: type[VlmResult] = Summary if request["kind"] == "summarize" else Answer
    event = requests.read(answer, kind)
    if as_json:
        echo(answer.data.decode())
    else:
        show(event, out)
    if save is not None:
        for path in await _save_frames(client, event, save):
            if not as_json:
                out.print(str(path), style="bold", markup=False, soft_wrap=True)
    if event.cause:
        raise TidegateError(
            "; ".join(filter(None, (event.reason, await registry.missing(client.jetstream(), event.camera))))
        )


async def _wait_for_answer(client: Connection, request: Mapping[str, Any], data: Path | None) -> Msg:
    """Return the answer; show the progress meanwhile, and why no worker is ready."""
    task = asyncio.create_task(ask_client.ask(client, request))
    beats: dict[str, WorkerStats] = {}
    reason = ""
    start = time.monotonic()
    try:
        client.forgo(names.stats("vlm", "*"))
        await ask_client.hear(client, beats)
        with telling() as tell:
            while not (await asyncio.wait({task}, timeout=PROGRESS_EVERY_S))[0]:
                status, reason = await ask_client.waited_for(client, beats), _obstacle(beats, data)
                tell("; ".join(filter(None, (f"asking … {time.monotonic() - start:.0f} s, {status}", reason))))
        return await task
    except Refusal as e:
        if e.code != NO_ANSWER:
            raise
        cause = reason or "ask again with a longer --wait, or see what 'tidegate doctor' finds"
        raise TidegateError(f"no answer within {request['wait_s']:g} s: {cause}") from e
    finally:
        task.cancel()


def _obstacle(beats: Mapping[str, WorkerStats], data: Path | None) -> str:
    """Return why no worker is ready, by its heartbeat or by the local stack; empty if one is, or nothing is known."""
    if any(beat.state == "ready" for beat in beats.values()):
        return ""
    local = [] if os.environ.get("NATS_URL") else problems.read(data or default_data())
    found = [problem.describe() for problem in local if problem.service in ("vlm", "vlm-front")]
    found += [f"{beat.replica} is not ready: {beat.reason}" for beat in beats.values() if beat.reason]
    return one_line(found[0]) if found else ""


async def _save_frames(client: Connection, event: VlmResult, to: Path) -> list[Path]:
    """Write the frames that the model was shown, as far as they exist, to the folder `to`. Raises SettingError."""
    from services.vlm.frames.footage import Footage

    paths = []
    folder(to)
    for n, frame in enumerate(await Footage(client, side=PICTURE, threads=1).again(event.camera, event.frames), 1):
        path = to / f"{n:02}-{event.camera}-{frame.time.astimezone():%Y%m%dT%H%M%S}.jpg"
        with written(path) as part:
            part.write_bytes(frame.jpeg)
        paths.append(path)
    return paths


def show(event: VlmResult, out: Console) -> None:
    """Print an answer or a summary."""
    now = now_here()
    if isinstance(event, Summary):
        for part in event.parts:
            span = f"{clock(part.start, now)} to {clock(part.end, now)}"
            out.print(Text.assemble((span, "bold"), "  ", one_line(part.text)))
        out.print(Text(inert(event.text)))
        span = f"{clock(event.start, now)} to {clock(event.end, now)}"
        what = f"{event.captions} captions" if event.captions or not event.frames else f"{len(event.frames)} frames"
        out.print(Text(f"out of {what}, {span}, by {one_line(event.model)}", "dim"))
    elif isinstance(event, Answer):
        if event.text:
            out.print(Text(inert(event.text)))
        times = [clock(time, now) for time in event.used or [frame.time for frame in event.frames]]
        if times:
            what = "rests on" if event.used else "was shown"
            by = f"{len(event.frames)} frames, by {one_line(event.model)}"
            out.print(Text(f"{what} {', '.join(times)}; {by}", "dim"))
