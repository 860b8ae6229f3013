"""`tidegate demo`: cameras, a surge, and workers that follow it; for real, in a minute and a half, on this machine.

What runs is the product: nats-server, ingest, cv and the autoscaler with `deploy/keda/demand/cv.yaml`. The demo adds
RTSP cameras that serve real footage, a load that fits the machine, a faster clock for the autoscaler, and a report.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

from shared import bus
from shared.contract.cameras import new_camera
from shared.runtime import child
from shared.runtime.errors import ModelError, SettingError, TidegateError
from shared.runtime.tasks import unless
from tidegate.demo import afterwards, footage, guard, rediscovery, report, sizing
from tidegate.demo.bank import Bank
from tidegate.demo.sizing import CALM_CAMERAS, Load
from tidegate.demo.story import Story, as_id, places, speed
from tidegate.local import elastic
from tidegate.local.configuration import scaled_object
from tidegate.local.server import NatsServer
from tidegate.local.stack import Stack, steady
from tidegate.view.logs import logs_to
from tidegate.view.monitor import Monitor
from tidegate.view.screen import Screen
from tidegate.view.terminal import LiveView

T = TypeVar("T")

INTERRUPTED = 130
# Less is no story; more than MEDIA keeps, ten minutes, can't be counted afterwards.
LEAST_S, MOST_S = 20, 500
# Enough for the batch in hand; the rest is handed back.
GRACE_S = 5.0


class DemoOptions(msgspec.Struct, frozen=True, kw_only=True):
    """video, rtsp: the user's own cameras in place of the embedded footage. seconds: about how long the story takes."""

    video: tuple[Path, ...] = ()
    rtsp: tuple[str, ...] = ()
    output: Path = Path("demo-output")
    seconds: int = 90
    keep: bool = False


def run(options: DemoOptions) -> int:
    """Exit code: 0 if nothing was lost or duplicated, 1 if it was, 130 after Ctrl-C. Raises TidegateError."""
    if not LEAST_S <= options.seconds <= MOST_S:
        raise SettingError(f"--seconds {options.seconds} can't be told: give {LEAST_S} to {MOST_S}")
    for url in options.rtsp:
        new_camera(url)
    try:
        options.output.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise SettingError(f"{options.output} can't be made ({e.strerror}): choose another folder with --output") from e
    return asyncio.run(_until_interrupted(options))


async def _until_interrupted(options: DemoOptions) -> int:
    """The first Ctrl-C ends the story, and the report still comes; the second ends the process at once."""
    stop = asyncio.Event()

    def interrupt(number: int) -> None:
        if stop.is_set():
            # Whatever we started dies with us.
            os._exit(128 + number)
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, interrupt, number)
    return await _demo(options, Screen(), stop)


async def _demo(options: DemoOptions, console: Console, stop: asyncio.Event) -> int:
    with _data(options.keep, console) as data, logs_to(data / "logs" / "tidegate.log", "demo"):
        prepared = await unless(stop, _prepare(options, data, console))
        if prepared is None:
            return INTERRUPTED
        files, load = prepared
        clock = speed(options.seconds)
        scaled = {"cv": sizing.fitted(scaled_object("cv"), load, clock), "embed": sizing.alone(scaled_object("embed"))}
        told = {**guard.ENVIRONMENT, "cv": {elastic.setting("cv"): f"{sizing.LATENCY_TARGET_S:g}"}}
        others = (*steady("up", "--search"), "analytics")
        whole = partial(Stack, data, scaled, steady=others, env=told, speed=clock, grace_s=GRACE_S)
        async with AsyncExitStack() as opened:
            urls = options.rtsp or (await opened.enter_async_context(Bank(files, data / "bank"))).urls
            stack = await opened.enter_async_context(whole(port=0))
            monitor = await opened.enter_async_context(Monitor(stack.admin, lambda: stack.autoscalers["cv"].state))
            # Twice the surge's cameras: some in reserve.
            lineup = places(urls, 2 * load.cameras)
            guarded = await guard.set_up(stack.admin, [p.id for p in lineup[:CALM_CAMERAS]])
            story = Story(stack.admin.jetstream(), monitor, lineup, load, options.seconds)
            async with LiveView(monitor, title="demo", story=story.words, console=console):
                await unless(stop, story.play())
            seen = report.Told(story.phases, list(monitor.samples), monitor.began, stack.autoscalers["cv"].state)
            await unless(stop, guard.show(stack.admin, guarded, options.output, console))
            await unless(stop, rediscovery.show(stack.admin, options.output, console))
        interrupted = stop.is_set()
        code = await _report(options, data, seen, console, interrupted=interrupted)
        if console.is_terminal and not stop.is_set():
            await unless(stop, _stay(options, data, files, load, whole, console))
        return INTERRUPTED if interrupted else code


async def _stay(
    options: DemoOptions, data: Path, files: list[Path], load: Load, whole: Callable[[], Stack], console: Console
) -> None:
    """What was recorded is looked at on pages, beside cameras that go on."""
    async with AsyncExitStack() as opened:
        urls = options.rtsp or (await opened.enter_async_context(Bank(files, data / "bank"))).urls
        stack = await opened.enter_async_context(whole())
        await afterwards.stay(stack, urls, load, console)


async def _report(options: DemoOptions, data: Path, told: report.Told, console: Console, *, interrupted: bool) -> int:
    """Everything has ended: what is told is read from what the server has on disk."""
    async with NatsServer(data) as server:
        client = await bus.connect(server.settings("admin"), "admin")
        js = client.jetstream()
        try:
            recorded = await report.read_back(client)
            summary = report.summarise(recorded, told)
            console.print()
            console.print(report.table(summary))
            console.print("\ndrawing pictures of it: some seconds")
            await report.write(js, recorded, summary, told, options.output)
        finally:
            await client.close()
    console.print(f"in one picture: {options.output / 'overview.png'}", soft_wrap=True, markup=False)
    console.print("beside it: camera-*.png, timeline.png, events.jsonl, summary.json")
    counts = summary.segments
    if not counts.processed and not interrupted:
        blame = "cv" if counts.segments else "ingest"
        raise TidegateError(f"no segment was processed: run it with --keep, and see what logs/{blame}-0.log there says")
    return 1 if counts.lost or counts.duplicated else 0


# ---- before the story


async def _prepare(options: DemoOptions, data: Path, console: Console) -> tuple[list[Path], Load]:
    """The files that the cameras play, and the load that fits; progress is shown."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(bar_width=24))
    with Progress(*columns, console=console, transient=True) as progress:
        if options.video:
            files = await _in_thread(progress, "preparing your video", _own_files, options.video, data / "footage")
        else:
            folder = footage.cache() / f"footage-{footage.VERSION}"
            files = await _in_thread(progress, "preparing footage", footage.embedded, folder)
        progress.add_task("loading the detector and measuring it (10 s more the first time)", total=None)
        rate = await _measured(files[0])
    load = sizing.fit(rate, os.cpu_count() or 1)
    console.print(_explain(load), soft_wrap=not console.is_terminal)
    return files, load


def _explain(load: Load) -> str:
    return (
        f"[bold]tidegate demo[/]: a worker does {load.rate:.0f} frames/s here. At {load.fps:g} a second each, "
        f"{CALM_CAMERAS} cameras are {CALM_CAMERAS * load.fps / load.rate:.1f} workers and the surge's {load.cameras} "
        f"are {load.surge:.1f}. deploy/keda/demand/cv.yaml scales them by demand, fitted to this machine: up to "
        f"{load.workers}, its clock made faster. Until they are there, fewer frames are looked at. Ctrl-C ends it."
    )


async def _in_thread(progress: Progress, words: str, work: Callable[..., list[Path]], *arguments: Any) -> list[Path]:
    """Run `work(*arguments, report_share)`; cancelled, it ends at its next report."""
    task = progress.add_task(words, total=1.0)
    cancelled = threading.Event()

    def share(done: float) -> None:
        if cancelled.is_set():
            raise InterruptedError
        progress.update(task, completed=done)

    try:
        return await asyncio.to_thread(partial(work, *arguments, share))
    except asyncio.CancelledError:
        cancelled.set()
        raise


def _own_files(videos: Sequence[Path], folder: Path, progress: footage.Progress) -> list[Path]:
    paths: list[Path] = []
    for n, video in enumerate(videos):
        path = folder / f"{as_id(video.stem) or 'video'}.mp4"
        path = path if path not in paths else path.with_stem(f"{path.stem}-{n + 1}")
        footage.serveable(video, path, lambda done, n=n: progress((n + done) / len(videos)))  # type: ignore[misc]
        paths.append(path)
    return paths


async def _measured(video: Path) -> float:
    """Frames a second of one worker. Raises ModelError with what the measuring process said."""
    process = await asyncio.create_subprocess_exec(
        *child.python("tidegate.demo.sizing", str(video)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        said = err.decode(errors="replace").strip().splitlines() or ["it said nothing"]
        raise ModelError(f"the detector can't be measured: {said[-1]}")
    return float(out)


# ---- around it


@contextmanager
def _data(keep: bool, console: Console) -> Iterator[Path]:
    """A data directory of the demo's own, so that its streams hold the run and nothing else."""
    folder = Path(tempfile.mkdtemp(prefix="tidegate-demo-"))
    try:
        yield folder
    finally:
        if keep:
            console.print(f"[dim]data and logs are kept in {folder}[/]", soft_wrap=True)
        else:
            shutil.rmtree(folder, ignore_errors=True)
