"""What is asked of a run, with what a running system knows of its cameras: their settings, rules and running hours."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import nats.errors

from services.analytics.settings import limits_here
from services.vlm.stretches import CaptionPlan
from shared.client import registry
from shared.client import rules as stored
from shared.contract import names
from shared.contract import rules as book
from shared.contract.cameras import Camera
from shared.contract.missing import Unread
from shared.contract.rules import Rules
from shared.recordings.records import Hour
from shared.runtime.errors import BusError, SettingError
from tidegate.archive import finding
from tidegate.archive.job import Caption, Embed, Job, Look, Piece, pieces
from tidegate.local import running


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """What a running system says. cameras, rules: by camera. hours: by camera that was ever recorded, what of it may
    not be over. reached: whether there is one.
    """

    cameras: dict[str, Camera] = {}
    rules: dict[str, Rules] = {}
    hours: dict[str, Hour | None] = {}
    reached: bool = False


class Describe(msgspec.Struct, frozen=True, kw_only=True):
    """What captions are to be like. frames, size: as `Caption` has them. usual, usual_prompt: where the camera has none
    of its own. every_s, prompt: for all cameras; None: as the camera has it.
    """

    frames: int
    size: int
    usual: CaptionPlan
    usual_prompt: str = ""
    every_s: float | None = None
    prompt: str | None = None


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What options say. None and empty: as the camera has it, or as is usual. own: whether the store is that of the
    system that runs here. key_file: of recordings that are encrypted. rules: for all cameras.
    """

    usual: Look
    run: str
    store: str
    own: bool
    key_file: str = ""
    output: str
    since: dt.datetime
    until: dt.datetime
    cameras: tuple[str, ...] = ()
    model: str
    device: str
    batch_size: int
    embed: Embed | None = None
    describe: Describe | None = None
    fps: float | None = None
    min_score: float | None = None
    tiles: str | None = None
    classes: tuple[str, ...] = ()
    rules: Rules | None = None


async def known(data: Path) -> Known:
    """Nothing where no system runs on `data`. Raises TidegateError."""
    try:
        client = await running.connect(data)
    except BusError:
        return Known()
    try:
        here = await registry.all(client.jetstream())
        return Known(
            cameras={name: found for name, found in here.items() if isinstance(found, Camera)},
            rules={camera: await stored.get(client, camera) for camera in await stored.cameras(client)},
            hours=await finding.running_hours(client),
            reached=True,
        )
    except (TimeoutError, Unread, nats.errors.Error) as e:
        raise BusError(f"the server does not say what it knows of its cameras: {e!r}") from e
    finally:
        await client.close()


async def planned(asked: Asked, data: Path) -> tuple[Job, list[Piece], Known]:
    """The job, and all that it does. Raises TidegateError."""
    said = await known(data)
    hours = said.hours if asked.own else {}
    named = [names.check_camera(camera) for camera in asked.cameras]
    cameras = sorted(named or hours or await finding.cameras(asked.store, asked.key_file))
    files = await finding.files(asked.store, asked.key_file, cameras, asked.since, asked.until, hours)
    if missing := [camera for camera in asked.cameras if not files[camera]]:
        raise SettingError(
            f"nothing of {', '.join(missing)} is recorded in {asked.store} in this time: see 'tidegate recordings list'"
        )
    job = _job(asked, [camera for camera in cameras if files[camera]], said)
    return job, [piece for camera in job.looks for piece in pieces(camera, files[camera], job)], said


def _job(asked: Asked, cameras: Sequence[str], said: Known) -> Job:
    rules: Mapping[str, Rules] = dict.fromkeys(cameras, asked.rules) if asked.rules else said.rules
    return Job(
        run=asked.run,
        store=asked.store,
        key_file=asked.key_file,
        output=asked.output,
        since=asked.since,
        until=asked.until,
        model=asked.model,
        device=asked.device,
        batch_size=asked.batch_size,
        embed=asked.embed,
        caption=_caption(asked.describe, cameras, said) if asked.describe else None,
        limits=limits_here(),
        looks={camera: _look(asked, said.cameras.get(camera)) for camera in cameras},
        rules={camera: msgspec.Raw(book.encode(rules[camera])) for camera in cameras if camera in rules},
    )


def _look(asked: Asked, camera: Camera | None) -> Look:
    usual = asked.usual
    fps = asked.fps or (camera and camera.fps) or usual.fps
    tiles = asked.tiles or (camera and camera.tiles) or usual.tiles
    own = None if camera is None else camera.min_score
    least = next(score for score in (asked.min_score, own, usual.min_score) if score is not None)
    classes = asked.classes or tuple((camera and camera.classes) or usual.classes)
    return Look(fps=fps, min_score=least, tiles=tiles, classes=classes)


def _caption(asked: Describe, cameras: Sequence[str], said: Known) -> Caption:
    """Raises SettingError where no camera is to be captioned."""
    plans: dict[str, CaptionPlan] = {}
    prompts: dict[str, str] = {}
    for name in cameras:
        camera = said.cameras.get(name)
        own = camera.caption_every_s if camera else None
        every_s = next(every for every in (asked.every_s, own, asked.usual.every_s) if every is not None)
        if every_s:
            plans[name] = msgspec.structs.replace(asked.usual, every_s=every_s)
        if prompt := asked.prompt or (camera and camera.caption_prompt) or asked.usual_prompt:
            prompts[name] = prompt
    if not plans:
        raise SettingError("no camera here is to be captioned, by its own settings: give --caption-every")
    return Caption(frames=asked.frames, size=asked.size, plans=plans, prompts=prompts)
