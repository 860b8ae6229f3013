"""A run's job and pieces, from a request and the state of a running system: camera settings, rules, open hours."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import nats.errors

from services.analytics.settings import limits_here
from services.vlm.planning.stretches import CaptionPlan
from shared.client import registry
from shared.client import rules as stored
from shared.contract import names
from shared.contract import rules as book
from shared.contract.cameras import Camera
from shared.contract.missing import Unread
from shared.contract.rules import Rules
from shared.recordings.records import Hour
from shared.runtime.errors import BusError, SettingError
from tidegate.archive import recorded_files
from tidegate.archive.job import Caption, DetectionSettings, Embed, Job, Piece, pieces
from tidegate.local import running


class SystemState(msgspec.Struct, frozen=True, kw_only=True):
    """The state of the system that runs, if any.

    cameras, rules: by camera. hours: of each camera that was ever recorded, the hour that may still be open. reached:
    whether a system answered.
    """

    cameras: dict[str, Camera] = {}
    rules: dict[str, Rules] = {}
    hours: dict[str, Hour | None] = {}
    reached: bool = False


class CaptionRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The caption options of a run.

    frames, size: as in `Caption`. usual, usual_prompt: defaults for a camera without settings. every_s, prompt:
    overrides for all cameras; None: the camera's own.
    """

    frames: int
    size: int
    usual: CaptionPlan
    usual_prompt: str = ""
    every_s: float | None = None
    prompt: str | None = None


class RunRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The options of a run. None or empty: the camera's own setting, or else the default.

    usual: the default settings. own: whether the store is that of the system that runs here. key_file: for encrypted
    recordings. rules: for all cameras.
    """

    usual: DetectionSettings
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
    describe: CaptionRequest | None = None
    fps: float | None = None
    min_score: float | None = None
    tiles: str | None = None
    classes: tuple[str, ...] = ()
    rules: Rules | None = None


async def fetch_system_state(data: Path) -> SystemState:
    """Return the state of the system in `data`: empty if none runs. Raises TidegateError."""
    try:
        client = await running.connect(data)
    except BusError:
        return SystemState()
    try:
        entries = await registry.all(client.jetstream())
        return SystemState(
            cameras={name: entry for name, entry in entries.items() if isinstance(entry, Camera)},
            rules={camera: await stored.get(client, camera) for camera in await stored.cameras(client)},
            hours=await recorded_files.running_hours(client),
            reached=True,
        )
    except (TimeoutError, Unread, nats.errors.Error) as e:
        raise BusError(f"the server does not say what it knows of its cameras: {e!r}") from e
    finally:
        await client.close()


async def plan(request: RunRequest, data: Path) -> tuple[Job, list[Piece], SystemState]:
    """Return the job, its pieces and the system's state. Raises TidegateError."""
    system = await fetch_system_state(data)
    hours = system.hours if request.own else {}
    selected = [names.check_camera(camera) for camera in request.cameras]
    cameras = sorted(selected or hours or await recorded_files.list_cameras(request.store, request.key_file))
    files = await recorded_files.list_files(
        request.store, request.key_file, cameras, request.since, request.until, hours
    )
    if missing := [camera for camera in request.cameras if not files[camera]]:
        raise SettingError(
            f"nothing of {', '.join(missing)} is recorded in {request.store} in this time: see "
            "'tidegate recordings list'"
        )
    job = _build_job(request, [camera for camera in cameras if files[camera]], system)
    return job, [piece for camera in job.looks for piece in pieces(camera, files[camera], job)], system


def _build_job(request: RunRequest, cameras: Sequence[str], system: SystemState) -> Job:
    rules: Mapping[str, Rules] = dict.fromkeys(cameras, request.rules) if request.rules else system.rules
    return Job(
        run=request.run,
        store=request.store,
        key_file=request.key_file,
        output=request.output,
        since=request.since,
        until=request.until,
        model=request.model,
        device=request.device,
        batch_size=request.batch_size,
        embed=request.embed,
        caption=_caption_job(request.describe, cameras, system) if request.describe else None,
        limits=limits_here(),
        looks={camera: _detection_settings(request, system.cameras.get(camera)) for camera in cameras},
        rules={camera: msgspec.Raw(book.encode(rules[camera])) for camera in cameras if camera in rules},
    )


def _detection_settings(request: RunRequest, camera: Camera | None) -> DetectionSettings:
    usual = request.usual
    fps = request.fps or (camera and camera.fps) or usual.fps
    tiles = request.tiles or (camera and camera.tiles) or usual.tiles
    own = None if camera is None else camera.min_score
    min_score = next(score for score in (request.min_score, own, usual.min_score) if score is not None)
    classes = request.classes or tuple((camera and camera.classes) or usual.classes)
    return DetectionSettings(fps=fps, min_score=min_score, tiles=tiles, classes=classes)


def _caption_job(request: CaptionRequest, cameras: Sequence[str], system: SystemState) -> Caption:
    """Raises SettingError if no camera is to be captioned."""
    plans: dict[str, CaptionPlan] = {}
    prompts: dict[str, str] = {}
    for name in cameras:
        camera = system.cameras.get(name)
        own = camera.caption_every_s if camera else None
        every_s = next(every for every in (request.every_s, own, request.usual.every_s) if every is not None)
        if every_s:
            plans[name] = msgspec.structs.replace(request.usual, every_s=every_s)
        if prompt := request.prompt or (camera and camera.caption_prompt) or request.usual_prompt:
            prompts[name] = prompt
    if not plans:
        raise SettingError("no camera here is to be captioned, by its own settings: give --caption-every")
    return Caption(frames=request.frames, size=request.size, plans=plans, prompts=prompts)
