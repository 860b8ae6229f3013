"""`tidegate ask`: a question about a camera's video."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from nats.aio.client import Client
from nats.aio.msg import Msg
from rich.console import Console

from shared.bus import requests
from shared.client import ask as asking
from shared.client import registry
from shared.contract import names
from shared.contract.events import Answer, Summary, VlmResult
from shared.contract.segment import rfc3339
from shared.runtime.errors import TidegateError
from tidegate.client import frames
from tidegate.client.times import instant, now_here
from tidegate.commands.options import FOLDER, screen, stretch_options, with_admin
from tidegate.view.answers import show
from tidegate.view.inert import echo
from tidegate.view.waiting import telling

SAY_EVERY_S = 1.0


@click.command()
@stretch_options
@click.argument("question")
@click.option("--save", type=FOLDER, help="Put the frames that the model saw in this folder.")
def ask(data: Path | None, question: str, save: Path | None, as_json: bool, **given: Any) -> None:
    """Ask a vision language model QUESTION about a camera's video, by default of the last minute.

    \b
    What happens now:       tidegate ask "is anybody at the door?" --camera door
    What happened then:     tidegate ask "what did the van bring?" --camera yard --since 13:05 --until 13:10
    What it rests on:       tidegate ask "is the gate open?" --camera gate --save seen/

    It needs 'tidegate up --vlm'. Video is there for as long as MEDIA keeps it, ten minutes by default, and where
    it is recorded.
    """
    asked = query("ask", given, question=question)
    with_admin(data, lambda client: run(client, asked, screen(), as_json=as_json, save=save))


def query(kind: str, given: Mapping[str, Any], **own: str) -> dict[str, Any]:
    """What `svc.ask` is asked, by the command line's options. Raises SettingError."""
    now = now_here()
    asked: dict[str, Any] = {
        "kind": kind,
        "camera": names.check_camera(given["camera"]),
        "wait_s": given["wait"],
    } | own
    for option in ("since", "until"):
        if given[option] is not None:
            asked[option] = rfc3339(instant(f"--{option}", given[option], now))
    return asked


async def run(client: Client, asked: Mapping[str, Any], out: Console, *, as_json: bool, save: Path | None) -> None:
    """Ask, wait, print the answer, and save the frames it was made from in `save`. Raises TidegateError."""
    answer = await _answer(client, asked)
    kind: type[VlmResult] = Summary if asked["kind"] == "summarize" else Answer
    event = requests.read(answer, kind)
    if as_json:
        echo(answer.data.decode())
    else:
        show(event, out)
    if save is not None:
        for path in await frames.save(client, event, save):
            if not as_json:
                out.print(str(path), style="bold", markup=False, soft_wrap=True)
    if event.cause:
        raise TidegateError(
            "; ".join(filter(None, (event.reason, await registry.missing(client.jetstream(), event.camera))))
        )


async def _answer(client: Client, asked: Mapping[str, Any]) -> Msg:
    """The answer; meanwhile it is said what it is waited for."""
    task = asyncio.create_task(asking.ask(client, asked))
    beats: dict[str, str] = {}
    began = time.monotonic()
    try:
        await asking.hear(client, beats)
        with telling() as tell:
            while not (await asyncio.wait({task}, timeout=SAY_EVERY_S))[0]:
                waited = await asking.waited_for(client, beats)
                tell(f"asking … {time.monotonic() - began:.0f} s, {waited}")
        return await task
    finally:
        task.cancel()
