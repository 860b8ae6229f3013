"""The live view in a terminal: cameras, what is seen, and workers that follow the queue.

    async with View(monitor, title="demo", story=lambda: "two cameras, one worker"):
        ...

Where standard output is not a terminal it prints a line every few seconds instead.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from shared.runtime.tasks import end
from tidegate.view.monitor import CameraNow, Monitor, Sample, Snapshot, WorkerNow

REFRESH_S = 0.5
LINE_S = 5.0
# How far back the curves go.
CURVE_S = 120.0
BLOCKS = " ▁▂▃▄▅▆▇█"
# Everything but the rows of cameras.
OTHER_LINES = 13

GOOD, BAD, WARM, DIM, QUEUE = "green", "red", "yellow", "bright_black", "cyan"


class View:
    """See the module. story: what is going on, in words, asked at each refresh."""

    def __init__(
        self, monitor: Monitor, *, title: str, story: Callable[[], str] = lambda: "", console: Console | None = None
    ) -> None:
        self._monitor = monitor
        self._title = title
        self._story = story
        self._console = console or Console()
        self._live: Live | None = None
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> View:
        if self._console.is_terminal:
            self._live = Live(console=self._console, auto_refresh=False, screen=False)
            self._live.start()
            self._task = asyncio.create_task(self._refresh())
        else:
            self._task = asyncio.create_task(self._print_lines())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await end(self._task)
        # How it ended stays on the screen.
        if self._live:
            self._live.update(self.render(), refresh=True)
            self._live.stop()
        else:
            self._print_line()

    async def _refresh(self) -> None:
        while self._live:
            self._live.update(self.render(), refresh=True)
            await asyncio.sleep(REFRESH_S)

    async def _print_lines(self) -> None:
        while True:
            self._print_line()
            await asyncio.sleep(LINE_S)

    def _print_line(self) -> None:
        self._console.print(line(self._monitor.snapshot(), self._monitor.elapsed, self._story()), soft_wrap=True)

    def render(self) -> RenderableType:
        """The whole view, for the console's present size."""
        snapshot, samples = self._monitor.snapshot(), self._monitor.samples
        width, height = self._console.size
        width = min(width, 120)
        return Group(
            _head(self._title, self._story(), self._monitor.elapsed, width),
            camera_table(snapshot.cameras, rows=max(3, height - OTHER_LINES), width=width),
            Rule(style=DIM),
            queue_table(snapshot, samples, width),
        )


def line(snapshot: Snapshot, elapsed: float, story: str) -> Text:
    """The state in one line, for logs."""
    now = snapshot.latest
    seen = ", ".join(f"{c.id}: {_seen(c.seen)}" for c in snapshot.cameras if c.seen)
    text = (
        f"{_clock(elapsed)}  {now.cameras_online} cameras online, {now.segments_in:.1f} segments/s in, "
        f"{now.segments_out:.1f} out, pending {_count(now.pending)}, in flight {_count(now.ack_pending)}, "
        f"{_plural(now.desired, 'worker')}"
    )
    return Text(text + (f" | {story}" if story else "") + (f" | {seen}" if seen else ""))


def _head(title: str, story: str, elapsed: float, width: int) -> Table:
    grid = Table.grid(expand=False)
    grid.width = width
    grid.add_column(no_wrap=True)
    grid.add_column(justify="center", ratio=1, no_wrap=True, overflow="ellipsis")
    grid.add_column(justify="right", no_wrap=True)
    grid.add_row(
        Text.assemble(("tidegate ", "bold"), (title, DIM)),
        Text(story, style="bold yellow"),
        Text(f"{_clock(elapsed)}  Ctrl-C ends", style=DIM),
    )
    return grid


def camera_table(cameras: Sequence[CameraNow], *, rows: int, width: int) -> Table:
    """One row a camera; what does not fit is counted in the last."""
    table = Table(box=None, width=width, pad_edge=False, header_style=DIM, padding=(0, 2, 0, 0))
    table.add_column("camera", no_wrap=True, min_width=10)
    table.add_column("state", no_wrap=True)
    for name in ("fps in", "analysed"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("seen now", ratio=1, no_wrap=True, overflow="ellipsis")
    for name in ("p50", "p99"):
        table.add_column(name, justify="right", no_wrap=True, min_width=6)
    shown = cameras if len(cameras) <= rows else cameras[: rows - 1]
    for c in shown:
        table.add_row(
            Text(c.id),
            Text(c.state, style={"online": GOOD, "offline": BAD}.get(c.state, DIM)),
            Text(f"{c.fps_in:.1f}", style="" if c.fps_in else DIM),
            Text(f"{c.fps_analysed:.1f}", style="" if c.fps_analysed else DIM),
            Text(c.reason, style=BAD) if c.reason else Text(_seen(c.seen), style="bold"),
            _latency(c.p50),
            _latency(c.p99),
        )
    if len(shown) < len(cameras):
        table.add_row(Text(f"+ {len(cameras) - len(shown)} more", style=DIM))
    if not cameras:
        table.add_row(Text("none: tidegate camera add lobby rtsp://…", style=DIM))
    return table


def queue_table(snapshot: Snapshot, samples: Sequence[Sample], width: int) -> Table:
    """The numbers of the queue with their curves, and the workers."""
    now = snapshot.latest
    columns = max(10, width - 38)
    recent = [s for s in samples if s.at > now.at - CURVE_S]
    grid = Table.grid(padding=(0, 1))
    grid.width = width
    grid.add_column(width=11, no_wrap=True, style=DIM)
    grid.add_column(width=24, no_wrap=True)
    grid.add_column(ratio=1, no_wrap=True)
    curves: list[tuple[str, Text, list[float], str]] = [
        ("segments/s", _numbers(("", f"{now.segments_in:.1f}", " in"), (" ", f"{now.segments_out:.1f}", " out")),
         [s.segments_in for s in recent], "white"),
        ("queue", _numbers(("", _count(now.pending), " pending"), (" ", _count(now.ack_pending), " in flight")),
         [float((s.pending or 0) + (s.ack_pending or 0)) for s in recent], QUEUE),
        ("workers", _numbers(("", str(now.desired), " wanted"), (" ", str(now.replicas), " running")),
         [float(s.desired) for s in recent], GOOD),
    ]  # fmt: skip
    for name, numbers, values, style in curves:
        top, bottom = curve(values, columns)
        peak = max(values, default=0.0)
        grid.add_row(name, numbers, Text(top, style=style))
        grid.add_row("", Text(f"peak {peak:.0f}" if peak >= 1 else "", style=DIM), Text(bottom, style=style))
    grid.add_row("", "", _workers(snapshot.workers))
    grid.add_row(
        "scaler", Text("as KEDA decides", style=DIM), Text(snapshot.scaler.reason, style=DIM, overflow="ellipsis")
    )
    return grid


def curve(values: Sequence[float], columns: int) -> tuple[str, str]:
    """Two lines of blocks, upper and lower, newest at the right; each column the highest of its share of `values`.

    Fewer values than columns are stretched, so that a short run fills the width as a long one does.
    """
    if not values:
        return "", ""
    n = len(values)
    columns = min(columns, max(n, 10))
    heights = [
        max(values[i * n // columns : max(i * n // columns + 1, (i + 1) * n // columns)]) for i in range(columns)
    ]
    top = max(heights) or 1.0
    # Sixteen steps over two lines. What is not nothing shows.
    steps = [max(1, round(16 * h / top)) if h > 0 else 0 for h in heights]
    return (
        "".join(BLOCKS[max(0, s - 8)] for s in steps),
        "".join(BLOCKS[min(8, s)] for s in steps),
    )


def _workers(workers: Sequence[WorkerNow]) -> Text:
    text = Text(no_wrap=True, overflow="ellipsis")
    for w in workers:
        style = WARM if w.state == "draining" else GOOD
        filled = round(6 * w.busy)
        text.append(f"{w.replica} ", style="" if w.state == "ready" else WARM)
        text.append("■" * filled, style=style)
        text.append("■" * (6 - filled), style=DIM)
        text.append(f" {w.busy:4.0%}   " if w.state == "ready" else f" {w.state}   ", style=DIM)
    return text


def _numbers(*parts: tuple[str, str, str]) -> Text:
    text = Text()
    for before, number, after in parts:
        text.append(before)
        text.append(number, style="bold")
        text.append(after, style=DIM)
    return text


def _latency(seconds: float | None) -> Text:
    if seconds is None:
        return Text("-", style=DIM)
    text = f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
    return Text(text, style=GOOD if seconds < 2 else WARM if seconds < 10 else BAD)


def _seen(seen: dict[str, int]) -> str:
    return ", ".join(f"{label} \N{MULTIPLICATION SIGN}{n}" if n > 1 else label for label, n in seen.items())


def _count(n: int | None) -> str:
    return "?" if n is None else str(n)


def _plural(n: int, noun: str) -> str:
    return f"{n} {noun}" + ("" if n == 1 else "s")


def _clock(seconds: float) -> str:
    return time.strftime("%M:%S" if seconds < 3600 else "%H:%M:%S", time.gmtime(seconds))
