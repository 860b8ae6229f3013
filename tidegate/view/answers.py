"""An answer or a summary of a vision language model, for users."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from shared.contract.events import Answer, Summary, VlmResult
from shared.runtime.plain import inert
from tidegate.client.times import clock, now_here
from tidegate.view.inert import one_line


def show(event: VlmResult, out: Console) -> None:
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
