"""The live view in a terminal: cameras, detected objects, and workers that follow the queue.

    async with LiveView(monitor, title="demo", story=lambda: "two cameras, one worker"):
        ...

If standard output is not a terminal, it prints a line every few seconds instead.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from textwrap import wrap

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from shared.runtime.problems import Problem
from shared.runtime.tasks import end
from tidegate.view.inert import one_line
from tidegate.view.monitor import CameraNow, Monitor, Sample, SystemNow, WorkerNow
from tidegate.view.screen import Screen
from tidegate.view.words import counted

REFRESH_S = 0.5
LINE_S = 5.0
# The time range of the curves.
CURVE_S = 120.0
BLOCKS = " ▁▂▃▄▅▆▇█"
# All lines but the rows of cameras, including the cursor's; and the same with curves of one line.
OTHER_LINES, OTHER_LINES_FLAT = 14, 11
# A terminal with fewer lines has flat curves.
LOW = 20
# Problems that are shown, and the lines of each.
MOST_PROBLEMS, PROBLEM_LINES = 3, 2
# Below this fraction of the wanted frames, a camera's row shows both: rates of a few seconds fluctuate.
LESS = 0.9
# A narrower terminal omits the least important columns.
NARROW = 80
# With thirty cameras, users look for the failing ones.
ORDER = ("offline", "unreadable", "connecting", "online", "disabled")

GOOD, BAD, WARM, DIM, QUEUE = "green", "red", "yellow", "bright_black", "cyan"
STATES = {"online": GOOD, "offline": BAD, "unreadable": BAD}


class LiveView:
    """See the module. story: returns the present event, in words, at each refresh. problems: of the processes."""

    def __init__(
        self,
        monitor: Monitor,
        *,
        title: str,
        story: Callable[[], str] = lambda: "",
        problems: Callable[[], Sequence[Problem]] = lambda: (),
        console: Console | None = None,
    ) -> None:
        self._monitor = monitor
        self._title = title
        self._story = story
        self._problems = problems
        self._console = console or Screen(highlight=True)
        self._live: Live | None = None
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> LiveView:
        if self._console.is_terminal:
            # Lines on standard error go above the view; if it is a file, they stay there.
            to_screen = sys.stderr.isatty()
            self._live = Live(console=self._console, auto_refresh=False, screen=False, redirect_stderr=to_screen)
            self._live.start()
            self._task = asyncio.create_task(self._refresh())
        else:
            self._task = asyncio.create_task(self._print_lines())
        return self

    async def __aexit__(self, *_: object) -> None:
        await end(self._task)
        # The final state stays on the screen.
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
        story = "; ".join(filter(None, (self._story(), *(p.describe() for p in self._problems()))))
        self._console.print(line(self._monitor.snapshot(), self._monitor.elapsed, story), soft_wrap=True)

    def render(self) -> RenderableType:
        """Return the whole view, for the console's present size."""
        snapshot, samples = self._monitor.snapshot(), self._monitor.samples
        width, height = self._console.size
        head = _head(self._title, self._story(), self._monitor.elapsed, min(width, 120))
        lines = problem_lines(self._problems(), min(width, 120))
        return Group(head, *lines, screen(snapshot, samples, min(width, 120), height - len(lines)))


def problem_lines(problems: Sequence[Problem], width: int) -> list[Text]:
    """Return the lines on processes that can't work, the dead ones first."""
    ordered = sorted(problems, key=lambda p: (p.kind != "died", p.replica))
    lines: list[Text] = []
    for problem in ordered[:MOST_PROBLEMS]:
        text = one_line(problem.describe())
        lines += (Text(part, style=BAD) for part in wrap(text, width, max_lines=PROBLEM_LINES, placeholder=" …"))
    if len(problems) > MOST_PROBLEMS:
        lines.append(Text(f"and {len(problems) - MOST_PROBLEMS} more problems: tidegate doctor", style=BAD))
    return lines


def screen(snapshot: SystemNow, samples: Sequence[Sample], width: int, height: int) -> RenderableType:
    """Return all below the headline: cameras, as far as they fit, and the queue."""
    flat = height < LOW
    rows = max(1, height - (OTHER_LINES_FLAT if flat else OTHER_LINES))
    return Group(
        totals(snapshot.cameras),
        camera_table(snapshot.cameras, rows=rows, width=width),
        Rule(style=DIM),
        queue_table(snapshot, samples, width, flat=flat),
    )


def line(snapshot: SystemNow, elapsed: float, story: str) -> Text:
    """Return the state in one line, for logs."""
    now = snapshot.latest
    seen = ", ".join(f"{c.id}: {_seen(c.seen)}" for c in snapshot.cameras if c.seen)
    text = (
        f"{_clock(elapsed)}  {now.cameras_online} cameras online, {now.segments_in:.1f} segments/s in, "
        f"{now.segments_out:.1f} out, pending {_count(now.pending)}, in flight {_count(now.ack_pending)}, "
        f"{counted(now.desired, 'worker')}"
        + (f" of {now.needed} needed" if now.needed else "")
        + (f", {now.deferred:.0%} of frames deferred" if now.deferred else "")
    )
    return Text(text + (f" | {story}" if story else "") + (f" | {one_line(seen)}" if seen else ""))


def _head(title: str, story: str, elapsed: float, width: int) -> Table:
    grid = Table.grid(expand=False, padding=(0, 1))
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


def totals(cameras: Sequence[CameraNow]) -> Text:
    """Return the number of cameras, in all and by state."""
    states = Counter(c.state for c in cameras)
    text = Text(counted(len(cameras), "camera"), no_wrap=True, overflow="ellipsis")
    for state in ("online", "offline", "unreadable", "connecting", "disabled"):
        if states[state] or state == "online":
            text.append(", ").append(f"{states[state]} {state}", style=STATES.get(state, DIM) if states[state] else DIM)
    return text


def camera_table(cameras: Sequence[CameraNow], *, rows: int, width: int) -> Table:
    """Return one row per camera, failing ones first; the last row counts those that do not fit."""
    table = Table(box=None, width=width, pad_edge=False, header_style=DIM, padding=(0, 2, 0, 0))
    table.add_column("camera", no_wrap=True, min_width=10, max_width=width // 3, overflow="ellipsis")
    table.add_column("state", no_wrap=True)
    wide = width >= NARROW
    for name in ("fps in", "analysed") if wide else ("fps",):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("seen now", ratio=1, no_wrap=True, overflow="ellipsis")
    for name in ("p50", "p99") if wide else ("p99",):
        table.add_column(name, justify="right", no_wrap=True, min_width=6)
    ordered = sorted(cameras, key=lambda c: ORDER.index(c.state) if c.state in ORDER else 0)
    shown = ordered if len(ordered) <= rows else ordered[: rows - 1]
    for c in shown:
        rates = [Text(f"{c.fps_in:.1f}", style="" if c.fps_in else DIM), _analysed(c)]
        latencies = [_latency(c.p50), _latency(c.p99)]
        table.add_row(
            Text(one_line(c.id)),
            Text(c.state, style=STATES.get(c.state, DIM)),
            *(rates if wide else rates[1:]),
            Text(one_line(c.reason), style=BAD) if c.reason else Text(one_line(_seen(c.seen)), style="bold"),
            *(latencies if wide else latencies[1:]),
        )
    if len(shown) < len(cameras):
        table.add_row(Text(f"and {len(cameras) - len(shown)} more", style=DIM))
    if not cameras:
        table.add_row(Text("none: tidegate camera add lobby rtsp://…", style=DIM))
    return table


def _analysed(c: CameraNow) -> Text:
    """Return frames per second, and the wanted rate if some frames are deferred."""
    text = Text(f"{c.fps_analysed:.1f}", style="" if c.fps_analysed else DIM)
    if c.fps_analysed < LESS * c.fps_wanted:
        text = Text.assemble((text.plain, WARM), (f" of {c.fps_wanted:.1f}", DIM))
    return text


def queue_table(snapshot: SystemNow, samples: Sequence[Sample], width: int, *, flat: bool = False) -> Table:
    """Return the numbers of the queue with their curves, and the workers. flat: curves of one line."""
    now = snapshot.latest
    columns = max(10, width - 38)
    recent = [s for s in samples if s.at > now.at - CURVE_S]
    grid = Table.grid(padding=(0, 1))
    grid.width = width
    grid.add_column(width=10, no_wrap=True, style=DIM)
    grid.add_column(width=25, no_wrap=True)
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
        if flat:
            grid.add_row(name, numbers, Text(curve(values, columns, lines=1)[0], style=style))
            continue
        top, bottom = curve(values, columns)
        peak = max(values, default=0.0)
        grid.add_row(name, numbers, Text(top, style=style))
        grid.add_row("", Text(f"peak {peak:.0f}" if peak >= 1 else "", style=DIM), Text(bottom, style=style))
    if any(s.deferred for s in recent):
        numbers = _numbers(("", f"{1 - now.deferred:.0%}", " analysed"), (" ", f"{now.deferred:.0%}", " deferred"))
        grid.add_row("frames", numbers, Text(curve([s.deferred for s in recent], columns, lines=1)[0], style=WARM))
    grid.add_row("", "", _workers(snapshot.workers))
    why = Text(one_line(snapshot.scaler.reason), style=DIM, overflow="ellipsis")
    if short := snapshot.scaler.shortage:
        why = Text(one_line(short.sentence), style=WARM, overflow="ellipsis")
    grid.add_row("scaler", Text("the local autoscaler", style=DIM), why)
    return grid


def curve(values: Sequence[float], columns: int, *, lines: int = 2) -> tuple[str, ...]:
    """Return lines of blocks, the upper first, newest at the right; each column is the maximum of its part of `values`.

    Fewer values than columns are stretched, so that a short run also fills the width.
    """
    if not values:
        return ("",) * lines
    n = len(values)
    columns = min(columns, max(n, 10))
    heights = [
        max(values[i * n // columns : max(i * n // columns + 1, (i + 1) * n // columns)]) for i in range(columns)
    ]
    top = max(heights) or 1.0
    # Eight steps per line. Any nonzero value shows.
    steps = [max(1, round(8 * lines * h / top)) if h > 0 else 0 for h in heights]
    return tuple("".join(BLOCKS[min(8, max(0, s - 8 * below))] for s in steps) for below in reversed(range(lines)))


def _workers(workers: Sequence[WorkerNow]) -> Text:
    text = Text(no_wrap=True, overflow="ellipsis")
    for w in workers:
        style = WARM if w.state == "draining" else GOOD
        filled = round(6 * w.busy)
        text.append(f"{one_line(w.replica)} ", style="" if w.state == "ready" else WARM)
        text.append("■" * filled, style=style)
        text.append("■" * (6 - filled), style=DIM)
        text.append(f" {w.busy:4.0%}   " if w.state == "ready" else f" {one_line(w.state)}   ", style=DIM)
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


def _clock(seconds: float) -> str:
    return time.strftime("%M:%S" if seconds < 3600 else "%H:%M:%S", time.gmtime(seconds))
