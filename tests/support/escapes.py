"""Escape sequences in foreign text, and the check that a terminal obeys none of them."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import re
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from shared import bus
from shared.bus import requests
from shared.bus.requests import Handler
from shared.contract import names
from shared.contract.events import (
    Answer,
    CameraStatus,
    Caption,
    Counts,
    Crossings,
    DetectedObject,
    Detections,
    Event,
    Frame,
    Heat,
    Incident,
    PathPoint,
    Presence,
    SegmentRef,
    Snapshot,
    Summary,
    Timing,
    Track,
    Tracks,
    Usage,
    Verdict,
)
from shared.runtime.errors import Refusal
from tests.support.processes.command_line import COMMAND
from tidegate.local.server import NatsServer

EVIL = (
    "\x1b[2J\x1b]0;owned\x07\x1b]52;c;cm0=\x07\x9b31m\r\x00\x08\x7f [bold red]x[/] [/x] :warning: "
    "\u202egnp.exe\u2066\u200e\U000e0041\u2028\n17  cv  forged\tcolumn\x85end"
)
# A label has 64 characters at most.
LABEL = EVIL[:64]
NOW = dt.datetime.now(dt.UTC).replace(microsecond=0)
BOX = (0.1, 0.1, 0.2, 0.5)
REF = SegmentRef(stream=names.MEDIA, seq=1, epoch="e", n=0)
TIMING = Timing(queued_ms=1, decode_ms=1, infer_ms=1)
# What rich writes by itself: colours, and the cursor of a line that changes.
OURS = re.compile(r"\x1b\[[0-9;]*m")
ACTIVE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\U000e0000-\U000e007f]")


def assert_inert(text: str, *, lines: int | None = None) -> None:
    """Assert that a terminal obeys only our own colours in `text`, and that markup and emoji codes are unchanged."""
    assert not (found := ACTIVE.search(OURS.sub("", text))), (found, text)
    assert "\\u001b[2J" in text and ":warning:" in text, text
    assert "[bold red]x[/] [/x]" in OURS.sub("", text), text
    if lines is not None:
        assert len(text.splitlines()) == lines, text


async def tidegate(
    server: NatsServer, *arguments: str, coloured: bool = False, ok: bool = True
) -> subprocess.CompletedProcess[str]:
    """coloured: simulate a terminal as standard output."""
    environment = os.environ | server.environment("admin")
    if coloured:
        environment |= {"FORCE_COLOR": "1", "TERM": "xterm-256color", "COLUMNS": "200"}
    done = await asyncio.to_thread(
        subprocess.run, [*COMMAND, *arguments], env=environment, capture_output=True, timeout=240
    )
    text = subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())
    assert "Traceback" not in text.stderr and (text.returncode == 0) is ok, text
    return text


@asynccontextmanager
async def answering(server: NatsServer, subject: str, payload: bytes | Refusal) -> AsyncIterator[None]:
    """A service of another operator."""
    client = await bus.connect(server.settings("admin"), "admin")

    async def answer(_: bytes) -> tuple[bytes, dict[str, str]]:
        if isinstance(payload, Refusal):
            raise payload
        return payload, {}

    handler: Handler = answer
    service = await requests.serve(client, "other", "another's", {"x": (subject, handler)})
    await client.flush()
    try:
        yield
    finally:
        await service.stop()
        await client.close()


def every_event() -> Sequence[Event]:
    """One of each kind, with all the text that its publisher writes."""
    fields: dict[str, Any] = {
        "camera": "lobby", "job": EVIL, "start": NOW, "end": NOW, "model": EVIL, "frames": [], "reason": EVIL,
        "timing": TIMING, "usage": Usage(prompt_tokens=1, completion_tokens=1, first_token_ms=1),
    }  # fmt: skip
    of: dict[str, Any] = {"camera": "lobby", "segment": REF, "start": NOW, "duration": 1.0, "model": EVIL}
    frame = Frame(time=NOW, objects=[DetectedObject(label=LABEL, score=0.5, box=BOX)])
    track = Track(
        id=EVIL, state="end", label=LABEL, score=0.5, box=BOX, first=NOW, last=NOW,
        path=[PathPoint(time=NOW, box=BOX)], speed=0.1, zones=[EVIL],
    )  # fmt: skip
    incident = Incident(
        camera="lobby", incident=EVIL, state="start", rule=EVIL, condition=EVIL, severity="info", start=NOW, time=NOW,
        zone=EVIL, objects=[], segments=[], snapshot=Snapshot(stream="MEDIA", seq=1, time=NOW),
    )  # fmt: skip
    return [
        Detections(**of, frames=[frame], timing=TIMING),
        Tracks(**of, tracks=[track]),
        incident,
        CameraStatus(camera="lobby", time=NOW, state="offline", reason=EVIL, url=EVIL, ingest=EVIL),
        Caption(**fields, text=EVIL),
        Verdict(**fields, incident=EVIL, verdict="confirmed", confidence=0.5),
        Answer(**fields, question=EVIL, text=EVIL),
        Summary(**fields, text=EVIL, captions=1, parts=[]),
        Counts(
            camera="lobby", start=NOW, end=NOW, seconds=1, labels={LABEL: Presence(objects=1)}, zones={},
            lines={EVIL: {LABEL: Crossings(into=1)}}, heat=Heat(columns=1, rows=1, seconds=[1.0]),
        ),
    ]  # fmt: skip
