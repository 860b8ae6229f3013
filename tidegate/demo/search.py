"""The demo's search over its own footage, by words and then by a picture, with the best clip."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import nats.errors
from nats.aio.client import Client
from rich.console import Console
from rich.text import Text

from shared.client import find
from shared.contract import names
from shared.contract.questions.search import Moment, Query
from shared.runtime.errors import TidegateError
from tidegate.client import clips
from tidegate.demo import report
from tidegate.view import moments
from tidegate.view.waiting import waited_for

# Timeout for the last events to reach the index, which waits for full batches.
CATCH_UP_S = 20.0
SHOWN = 3
CLIP = "found"


async def show(client: Client, folder: Path, out: Console) -> None:
    """Print the moments and save the best one's video in `folder`. A failure is printed, not raised."""
    try:
        await _wait_until_indexed(client)
        text = await _common_labels(client)
        if text is None:
            return
        best = await _print_results(client, Query(text=text, k=SHOWN, picture=True), out, f'find "{text}"')
        if best is None:
            return
        for path in await clips.keep(client, folder / CLIP, best, lambda line: out.print(Text(line, "dim"))):
            out.print(f"its {'video' if path.suffix == '.mp4' else 'picture'}: {path}", soft_wrap=True, markup=False)
        if best.picture:
            picture = f"{CLIP}.jpg"
            await _print_results(client, Query(image=best.picture, k=SHOWN), out, f"find --image {picture}")
    except (TidegateError, TimeoutError, nats.errors.Error) as e:
        out.print(f"the search did not answer: {e}", style="yellow", markup=False)


async def _wait_until_indexed(client: Client) -> None:
    js = client.jetstream()
    async with asyncio.timeout(CATCH_UP_S):
        for stream, consumer in ((names.MEDIA, "embed"), (names.EVENTS, "search")):
            while (info := await js.consumer_info(stream, consumer)).num_pending or info.num_ack_pending:
                await asyncio.sleep(0.2)


async def _common_labels(client: Client) -> str | None:
    """Return the two most common labels, by segments, as a query; None if nothing was detected."""
    run = await report.read_back(client)
    label_counts = Counter(
        label for s in run.detections for label in {o.label for f in s.event.frames for o in f.objects}
    )
    return " and ".join(label for label, _ in label_counts.most_common(2)) or None


async def _print_results(client: Client, query: Query, out: Console, command: str) -> Moment | None:
    found = await waited_for(find.ask(client, query), "searching")
    out.print(f"\n[bold]tidegate {command}[/]")
    if found.moments:
        moments.show(out, found.moments)
    for line in moments.remarks(found, query):
        out.print(line, style="dim", markup=False)
    return found.moments[0] if found.moments else None
