"""An answer or a summary of a vision language model, for a person."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape

from shared.contract.events import Answer, Said, Summary
from tidegate.client.times import clock, now_here


def show(event: Said, out: Console) -> None:
    now = now_here()
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
