"""`tidegate demo`: cameras, a surge and autoscaled workers on this machine, in a minute and a half.

It runs the product: nats-server, ingest, cv and the autoscaler with `deploy/keda/demand/cv.yaml`. The demo adds RTSP
cameras with real footage, a load that fits the machine, a faster clock for the autoscaler, and a report.
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
from shared.client import registry
from shared.contract import cameras
from shared.contract.cameras import new_camera
from shared.runtime import child
from shared.runtime.errors import ModelError, SettingError, TidegateError
from shared.runtime.tasks import unless
from tidegate.demo import footage, incidents, report, search, sizing
from tidegate.demo.bank import Bank
from tidegate.demo.scenario import Scenario, as_id, planned_cameras, speed
from tidegate.demo.sizing import CALM_CAMERAS, Load
from tidegate.local.scaling import scaled_objects
from tidegate.local.scaling.scaled_objects import scaled_object
from tidegate.local.server import NatsServer
from tidegate.local.stack import Stack, steady
from tidegate.view.monitor import Monitor
from tidegate.view.screen import Screen, logs_to
from tidegate.view.terminal import LiveView
from tidegate.view.up import show_console

T = TypeVar("T")

INTERRUPTED = 130
# The scenario needs a minimum; the maximum is below MEDIA's retention of ten minutes, so the report can count all.
MIN_S, MAX_S = 20, 500
# Enough for the batch in flight; a worker returns the rest.
GRACE_S = 5.0


class DemoOptions(msgspec.Struct, frozen=True, kw_only=True):
    """video, rtsp: the user's cameras, instead of embedded footage. seconds: approximate length of the scenario."""

    video: tuple[Path, ...] = ()
    rtsp: tuple[str, ...] = ()
    output: Path = Path("demo-output")
    seconds: int = 90
    keep: bool = False


def run(options: DemoOptions) -> int:
    """Return 0 if nothing was lost or duplicated, else 1; 130 after Ctrl-C. Raise TidegateError."""
    if not MIN_S <= options.seconds <= MAX_S:
        raise SettingError(f"--seconds {options.seconds} can't be told: give {MIN_S} to {MAX_S}")
    for url in options.rtsp:
        new_camera(url)
    try:
        options.output.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise SettingError(f"{options.output} can't be made ({e.strerror}): choose another folder with --output") from e
    return asyncio.run(_until_interrupted(options))


async def _until_interrupted(options: DemoOptions) -> int:
    """Run the demo. The first Ctrl-C ends the scenario and writes the report; the second ends the process."""
    stop = asyncio.Event()

    def interrupt(number: int) -> None:
        if stop.is_set():
            # All child processes end with this one.
            os._exit(128 + number)
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, interrupt, number)
    return await _run_demo(options, Screen(), stop)


async def _run_demo(options: DemoOptions, console: Console, stop: asyncio.Event) -> int:
    with _data(options.keep, console) as data, logs_to(data / "logs" / "tidegate.log", "demo"):
        preparation = await unless(stop, _prepare(options, data, console))
        if preparation is None:
            return INTERRUPTED
        files, load = preparation
        clock = speed(options.seconds)
        scaled = {
            "cv": sizing.fit_scaled_object(scaled_object("cv"), load, clock),
            # Other services leave the cores to cv.
            "embed": scaled_object("embed").with_maximum(1),
        }
        env = {**incidents.ENVIRONMENT, "cv": {scaled_objects.setting("cv"): f"{sizing.LATENCY_TARGET_S:g}"}}
        others = (*steady("up", "--search"), "analytics")
        new_stack = partial(Stack, data, scaled, steady=others, env=env, speed=clock, grace_s=GRACE_S)
        async with AsyncExitStack() as opened:
            urls = options.rtsp or (await opened.enter_async_context(Bank(files, data / "bank"))).urls
            stack = await opened.enter_async_context(new_stack(port=0))
            monitor = await opened.enter_async_context(Monitor(stack.admin, lambda: stack.autoscalers["cv"].state))
            # Twice the surge's cameras, as a reserve.
            cameras = planned_cameras(urls, 2 * load.cameras)
            rules_camera = await incidents.set_up(stack.admin, [p.id for p in cameras[:CALM_CAMERAS]])
            scenario = Scenario(stack.admin.jetstream(), monitor, cameras, load, options.seconds)
            async with LiveView(monitor, title="demo", story=scenario.describe, console=console):
                await unless(stop, scenario.play())
            observed = report.Observations(
                scenario.phases, list(monitor.samples), monitor.began, stack.autoscalers["cv"].state
            )
            await unless(stop, incidents.show(stack.admin, rules_camera, options.output, console))
            await unless(stop, search.show(stack.admin, options.output, console))
        interrupted = stop.is_set()
        code = await _report(options, data, observed, console, interrupted=interrupted)
        if console.is_terminal and not stop.is_set():
            await unless(stop, _keep_running(options, data, files, load, new_stack, console))
        return INTERRUPTED if interrupted else code


async def _keep_running(
    options: DemoOptions, data: Path, files: list[Path], load: Load, new_stack: Callable[[], Stack], console: Console
) -> None:
    """Start the stack again, for the console's pages, with two cameras online."""
    async with AsyncExitStack() as opened:
        urls = options.rtsp or (await opened.enter_async_context(Bank(files, data / "bank"))).urls
        stack = await opened.enter_async_context(new_stack())
        await _keep_cameras_online(stack, urls, load, console)


async def _report(
    options: DemoOptions, data: Path, observed: report.Observations, console: Console, *, interrupted: bool
) -> int:
    """Write the report from the stored streams, after everything else has ended."""
    async with NatsServer(data) as server:
        client = await bus.connect(server.settings("admin"), "admin")
        js = client.jetstream()
        try:
            recorded = await report.read_back(client)
            summary = report.summarise(recorded, observed)
            console.print()
            console.print(report.table(summary))
            console.print("\ndrawing pictures of it: some seconds")
            await report.write(js, recorded, summary, observed, options.output)
        finally:
            await client.close()
    console.print(f"in one picture: {options.output / 'overview.png'}", soft_wrap=True, markup=False)
    console.print("beside it: camera-*.png, timeline.png, events.jsonl, summary.json")
    counts = summary.segments
    if not counts.processed and not interrupted:
        service = "cv" if counts.segments else "ingest"
        raise TidegateError(
            f"no segment was processed: run it with --keep, and see what logs/{service}-0.log there says"
        )
    return 1 if counts.lost or counts.duplicated else 0


async def _keep_cameras_online(stack: Stack, urls: Sequence[str], load: Load, console: Console) -> None:
    """Add two cameras and wait until cancelled. Raise the error of a part of the stack that fails."""
    js = stack.admin.jetstream()
    for planned in planned_cameras(urls, CALM_CAMERAS):
        entry, credentials = cameras.new_camera(planned.url, fps=load.fps)
        await registry.put(js, planned.id, entry, credentials)
    console.print()
    await show_console(stack, console)
    console.print("two of the cameras go on meanwhile; Ctrl-C ends all of it")
    await asyncio.gather(stack.failed(), asyncio.Event().wait())


# ---- before the scenario


async def _prepare(options: DemoOptions, data: Path, console: Console) -> tuple[list[Path], Load]:
    """Return the cameras' files and a load that fits the machine; show progress."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(bar_width=24))
    with Progress(*columns, console=console, transient=True) as progress:
        if options.video:
            files = await _run_in_thread(
                progress, "preparing your video", _prepare_files, options.video, data / "footage"
            )
        else:
            files = await _run_in_thread(progress, "preparing footage", footage.embedded, None)
        progress.add_task("loading the detector and measuring it (10 s more the first time)", total=None)
        rate = await _measure(files[0])
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


async def _run_in_thread(progress: Progress, text: str, work: Callable[..., list[Path]], *arguments: Any) -> list[Path]:
    """Run `work(*arguments, report_share)` in a thread. On cancellation the work ends at its next report."""
    task = progress.add_task(text, total=1.0)
    cancelled = threading.Event()

    def report_share(done: float) -> None:
        if cancelled.is_set():
            raise InterruptedError
        progress.update(task, completed=done)

    try:
        return await asyncio.to_thread(partial(work, *arguments, report_share))
    except asyncio.CancelledError:
        cancelled.set()
        raise


def _prepare_files(videos: Sequence[Path], folder: Path, progress: footage.Progress) -> list[Path]:
    paths: list[Path] = []
    for n, video in enumerate(videos):
        path = folder / f"{as_id(video.stem) or 'video'}.mp4"
        path = path if path not in paths else path.with_stem(f"{path.stem}-{n + 1}")
        footage.serveable(video, path, lambda done, n=n: progress((n + done) / len(videos)))  # type: ignore[misc]
        paths.append(path)
    return paths


async def _measure(video: Path) -> float:
    """Return frames per second of one worker. Raise ModelError with the last line of the measuring process."""
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
        lines = err.decode(errors="replace").strip().splitlines() or ["it said nothing"]
        raise ModelError(f"the detector can't be measured: {lines[-1]}")
    return float(out)


# ---- data directory


@contextmanager
def _data(keep: bool, console: Console) -> Iterator[Path]:
    """A separate data directory, so that its streams contain only this run."""
    folder = Path(tempfile.mkdtemp(prefix="tidegate-demo-"))
    try:
        yield folder
    finally:
        if keep:
            console.print(f"[dim]data and logs are kept in {folder}[/]", soft_wrap=True)
        else:
            shutil.rmtree(folder, ignore_errors=True)
