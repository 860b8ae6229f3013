"""Found moments, and remarks on an answer, for users."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from shared.contract.questions.search import Found, Moment, Query
from tidegate.client.times import clock, length, now_here
from tidegate.view import records
from tidegate.view.records import Right, Wrapped

_BAR = 8


FIELDS = ("", "when", Right("length"), "camera", "match", Wrapped("labels"), "video", "id")


def show(out: Console, moments: Sequence[Moment], now: dt.datetime | None = None) -> None:
    """Print a record per moment, times in `now`'s zone. Bars compare within the answer: cosines have no scale."""
    now = now or now_here()
    best = max((m.similarity or 0 for m in moments), default=0), max((m.score or 0 for m in moments), default=0)
    # Only if some were found in recordings.
    runs = ("run",) if any(m.run for m in moments) else ()
    rows: list[list[str | Text]] = []
    for n, m in enumerate(moments, 1):
        share = m.similarity / best[0] if m.similarity and best[0] > 0 else (m.score or 0) / (best[1] or 1)
        bar = Text(f"{'▆' * round(_BAR * max(0.0, share)):<{_BAR}} ", "green") if out.is_terminal else Text()
        rows.append(
            [
                str(n),
                clock(m.start, now),
                length((m.end - m.start).total_seconds()),
                m.camera,
                bar.append(_numbers(m), "default"),
                ", ".join(m.labels),
                Text("kept") if m.has_video else Text("expired", "dim"),
                Text(m.id or "", "dim"),
                *([Text(m.run or "", "dim")] if runs else []),
            ]
        )
    records.show(out, (*FIELDS, *runs), rows, "nothing found")


def _numbers(moment: Moment) -> str:
    by = (
        None if moment.similarity is None else f"{moment.similarity:.3f}",
        None if moment.score is None else f"label {moment.score:.2f}",
    )
    return " + ".join(number for number in by if number)


def search_summary(query: Query) -> str:
    """Describe the query and its range."""
    now = now_here()
    what = repr(query.text) if query.text else "the picture" if query.image else f"what is like {query.like}"
    if not (query.text or query.image or query.like):
        what = f"label {', '.join(query.labels)}"
    elif query.labels:
        what += f" with label {', '.join(query.labels)}"
    where = f"on camera {', '.join(query.cameras)}" if query.cameras else "on all cameras"
    since = f", since {clock(query.since, now)}" if query.since else ""
    until = f", until {clock(query.until, now)}" if query.until else ""
    least = "" if query.min_score is None else f", with a score of {query.min_score:g} or more"
    run = f", in run {query.run}" if query.run else ""
    return f"looked for {what} {where}{since}{until}{run}{least}"


def remarks(found: Found, query: Query) -> list[str]:
    """Return hints for the user, and options to relax if nothing was found."""
    lines = [found.note] if found.note else []
    if found.pending:
        lines.append(f"{found.pending} events are not in the index yet: ask again in a while")
    is_ranked = bool(query.text or query.image or query.like)
    filters = {
        "--camera": query.cameras,
        "--since": query.since,
        "--until": query.until,
        "--label": query.labels and is_ranked,
        "--run": query.run,
        "--min-score": query.min_score is not None,
    }
    narrow = [option for option, value in filters.items() if value]
    if narrow and not found.moments:
        lines.append(f"try without {' or '.join(narrow)}")
    return lines
