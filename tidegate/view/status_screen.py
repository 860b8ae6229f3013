"""A status on one screen: what is wrong with its remedies, then cameras, services and room."""

from __future__ import annotations

import datetime as dt
import math
from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from services.console.system.findings import Finding
from shared.contract.memory import GB
from tidegate.client.times import clock, length, now_here
from tidegate.view.inert import one_line
from tidegate.view.records import Right, Wrapped, table
from tidegate.view.status import SILENT_S, CameraRow, ServiceRow, Status
from tidegate.view.words import counted

# Findings and cameras on one screen; --json has all.
MOST_FINDINGS, MOST_CAMERAS = 8, 8
LABELS = {"bad": ("bad ", "red"), "warn": ("note", "yellow")}
STATES = {"online": "green", "offline": "red", "unreadable": "red", "unusable": "red"}
_TROUBLE = ("unusable", "unreadable", "offline", "connecting", "online", "disabled")
CAMERA_FIELDS = ("camera", "state", "video", Right("fps"), "silent since", Wrapped("reason"))
SERVICE_FIELDS = (
    "service", Right("wanted"), Right("running"), Right("ready"), Right("pending"), Right("in flight"), Right("oldest"),
    Wrapped("problem"),
)  # fmt: skip


def show(status: Status, out: Console) -> None:
    """Print a status."""
    _head(status, out)
    if status.level == "unreachable":
        return
    if status.cameras:
        _section(out, f"Cameras: {_counts(status.cameras)}")
        shown = sorted(status.cameras, key=_rank)[:MOST_CAMERAS]
        out.print(table(CAMERA_FIELDS, [_camera(row) for row in shown]))
        _more(out, len(status.cameras) - len(shown), "camera")
    elif not any("cameras" in text for text in status.left_out):
        _section(out, "Cameras: none. Add one: tidegate camera add lobby rtsp://…")
    if status.services:
        _section(out, "Services")
        out.print(table(SERVICE_FIELDS, [_service(row) for row in status.services]))
    _room(status, out)


def _head(status: Status, out: Console) -> None:
    """Print what is wrong, first of all."""
    bad = sum(f.level == "bad" for f in status.wrong)
    notes = len(status.wrong) - bad
    summary = ", ".join(counted(n, noun) for n, noun in ((bad, "problem"), (notes, "note")) if n)
    where = "" if status.level == "unreachable" else f"{status.server}: "
    style = "red" if bad else "yellow" if notes else "green"
    well = "all is well, as far as this user may read" if status.left_out else "all is well"
    _line(out, Text(f"{where}{summary or well}", f"bold {style}"))
    for finding in status.wrong[:MOST_FINDINGS]:
        _finding(finding, out)
    _more(out, len(status.wrong) - MOST_FINDINGS, "finding")
    if status.left_out:
        denied = [text.partition(": ") for text in status.left_out]
        what = "; ".join(dict.fromkeys(first for first, _, _ in denied))
        _line(out, Text(f"left out: {one_line(what)}", "dim"))
        _line(out, Text(f"          {one_line(denied[0][2])}", "dim"))


def _finding(finding: Finding, out: Console) -> None:
    label, style = LABELS[finding.level]
    _line(out, Text.assemble((label, style), f"  {one_line(finding.what)}: {one_line(finding.found)}"))
    if finding.remedy:
        _line(out, Text.assemble("      ", ("remedy: ", "bold"), one_line(finding.remedy)))


def _section(out: Console, title: str) -> None:
    out.print()
    _line(out, Text(one_line(title), "bold"))


def _more(out: Console, n: int, noun: str) -> None:
    if n > 0:
        _line(out, Text(f"and {n} more {noun}{'' if n == 1 else 's'}: --json lists all", "dim"))


def _line(out: Console, text: Text) -> None:
    out.print(text, soft_wrap=True)


def _counts(rows: Sequence[CameraRow]) -> str:
    counts = Counter(row.state for row in rows)
    return ", ".join(f"{counts[state]} {state}" for state in reversed(_TROUBLE) if counts[state])


def _is_silent(row: CameraRow) -> bool:
    return row.state == "online" and row.silent_s is not None and row.silent_s > SILENT_S


def _rank(row: CameraRow) -> tuple[int, bool, str]:
    return _TROUBLE.index(row.state), not _is_silent(row), row.camera


def _camera(row: CameraRow) -> list[str | Text]:
    video = f"{row.codec} {row.width}x{row.height}" if row.codec else ""
    return [
        one_line(row.camera),
        Text(row.state, STATES.get(row.state, "dim")),
        one_line(video),
        f"{row.fps:g}" if row.fps is not None else "",
        _silence(row),
        one_line(row.reason),
    ]


def _silence(row: CameraRow) -> str:
    now = now_here()
    if row.state in ("offline", "unreadable") and row.since:
        return clock(row.since, now)
    if not _is_silent(row) or row.silent_s is None:
        return ""
    return clock(now - dt.timedelta(seconds=row.silent_s), now) if math.isfinite(row.silent_s) else "long"


def _service(row: ServiceRow) -> list[str | Text]:
    problem = one_line("; ".join(row.problems))
    return [
        row.service,
        _number(None if row.wanted is None else math.ceil(row.wanted)),
        _number(row.running),
        _number(row.ready),
        _number(row.pending),
        _number(row.in_flight),
        length(row.oldest_s) if row.oldest_s else "",
        Text(problem, "red") if problem else "",
    ]


def _number(n: int | None) -> str:
    return "" if n is None else str(n)


def _room(status: Status, out: Console) -> None:
    """Print the streams against their limits, dead letters, and the disk."""
    parts = [
        f"{r.stream} {r.share_full:.0%} of {r.max_bytes / GB:.1f} GB"
        for r in status.room
        if r.max_bytes and r.share_full
    ]
    if status.room:
        _section(out, f"Room: {', '.join(parts) or 'all streams are empty'}")
    if status.dead_letters is not None:
        _line(out, Text(f"dead letters: {status.dead_letters}"))
    if status.disk:
        free, total = status.disk.free / GB, status.disk.total / GB
        _line(out, Text(f"disk of {one_line(status.disk.folder)}: {free:.1f} of {total:.1f} GB free"))
