"""The demo's rules: set before the scenario, and their incidents, printed after it."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Sequence
from pathlib import Path

import msgspec
import nats.errors
from nats.aio.client import Client
from rich.console import Console
from rich.table import Table

from shared.bus.log import Log
from shared.client import rules, tracks
from shared.contract import names
from shared.contract.events import Incident
from shared.contract.rules import Crossing, Enter, Line, Rules, Stopped, Zone
from shared.runtime.errors import TidegateError
from tidegate.drawing.track_video import write_track_video
from tidegate.view.waiting import telling

# In the embedded footage: a man comes past a parked bicycle, stands, and leaves as he came.
EMBEDDED_CAMERA = "alley"
STREET = Rules(
    zones={"stand": Zone(polygon=[(0.4, 0.4), (1.0, 0.4), (1.0, 1.0), (0.4, 1.0)])},
    lines={"way": Line(start=(0.4, 1.0), to=(0.4, 0.0))},
    rules=[
        Crossing(id="coming", line="way", labels=["person"], direction="out", severity="info"),
        Crossing(id="leaving", line="way", labels=["person"], direction="in", severity="info"),
        Stopped(id="parked", zone="stand", labels=["bicycle", "motorcycle"], seconds=5.0),
    ],
)
# For any other camera: objects in its middle, and objects that pass it.
DEFAULT_RULES = Rules(
    zones={"middle": Zone(polygon=[(0.25, 0.25), (0.75, 0.25), (0.75, 1.0), (0.25, 1.0)])},
    lines={"way": Line(start=(0.5, 1.0), to=(0.5, 0.0))},
    rules=[
        Enter(id="inside", zone="middle", cooldown_s=10.0),
        Crossing(id="passing", line="way", severity="info"),
    ],
)
# The man passes close to the camera, in less than a second, so 2 frames per second are too few.
ENVIRONMENT = {"analytics": {"ANALYTICS_FPS": "10"}}
CATCH_UP_S = 20.0
CLIP_S = 8.0


async def set_up(client: Client, cameras: Sequence[str]) -> str:
    """Set rules for one of the cameras; return its id."""
    camera = EMBEDDED_CAMERA if EMBEDDED_CAMERA in cameras else cameras[0]
    await rules.put(client, camera, STREET if camera == EMBEDDED_CAMERA else DEFAULT_RULES)
    return camera


async def show(client: Client, camera: str, folder: Path, out: Console) -> None:
    """Print the incidents and save a video of the tracks. A failure is printed, not raised."""
    try:
        await _wait_for_tracks(client, camera)
        found = await incidents(client, camera)
        out.print(f"\n[bold]tidegate watch incidents.{camera}[/]")
        out.print(_table(found) if found else "[dim]nothing came true[/]")
        if found:
            begin = found[0].start - dt.timedelta(seconds=2)
            stretch = tracks.Stretch(camera, begin, begin + dt.timedelta(seconds=CLIP_S))
            path = folder / f"tracks-{camera}.mp4"
            with telling() as tell:
                seconds = await write_track_video(client, stretch, await tracks.read(client, stretch), path, tell)
            out.print(f"what was followed, {seconds:.0f} s of it: {path}", soft_wrap=True, markup=False)
    except (TidegateError, TimeoutError, nats.errors.Error) as e:
        out.print(f"the incidents can't be told: {e}", style="yellow", markup=False)


async def incidents(client: Client, camera: str) -> list[Incident]:
    """Return the last event of each incident, by start."""
    found: dict[str, Incident] = {}
    async with Log(client, names.EVENTS) as log:
        seq = 1
        while part := await log.read(names.event("incidents", camera), seq):
            seq = part[-1].seq + 1
            for stored in part:
                event = msgspec.json.decode(stored.data, type=Incident)
                found[event.incident] = event
    return sorted(found.values(), key=lambda e: (e.start, e.incident))


async def _wait_for_tracks(client: Client, camera: str) -> None:
    """Wait until analytics has published tracks for the last detections, up to a timeout. One or two may be missing."""
    async with Log(client, names.EVENTS) as log:
        last = await log.last(names.event("detections", camera))
        if last is None:
            return
        target = msgspec.json.decode(last.data)["segment"]["n"]
        try:
            async with asyncio.timeout(CATCH_UP_S):
                while True:
                    track = await log.last(names.event("tracks", camera))
                    if track and msgspec.json.decode(track.data)["segment"]["n"] >= target - 2:
                        return
                    await asyncio.sleep(0.2)
        except TimeoutError:
            return


def _table(found: Sequence[Incident]) -> Table:
    """Return a table with a row for each rule."""
    table = Table("rule", "what", "where", "who", "incidents", "first", "last")
    for rule in dict.fromkeys(e.rule for e in found):
        events = [e for e in found if e.rule == rule]
        first = events[0]
        place = f"line {first.line}, {first.direction}" if first.line else f"zone {first.zone}"
        labels = ", ".join(sorted({o.label for e in events for o in e.objects}))
        times = (f"{e.start.astimezone():%H:%M:%S}" for e in (events[0], events[-1]))
        table.add_row(rule, first.condition, place, labels, str(len(events)), *times)
    return table
