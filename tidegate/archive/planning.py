"""A run's request, from the command's options and the environment; and its job and pieces, from the request and the
state of a running system: camera settings, rules, open hours.
"""

from __future__ import annotations

import datetime as dt
import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import nats.errors

from services.analytics.settings import limits_here
from services.cv.settings import CvSettings
from services.embed.settings import EmbedSettings
from services.vlm.planning.stretches import CaptionPlan
from shared.client import registry
from shared.client import rules as stored
from shared.contract import names
from shared.contract import rules as book
from shared.contract.cameras import Camera
from shared.contract.reading.missing import Unread
from shared.contract.rules import Rules
from shared.recordings.opening import KEY_FILE
from shared.recordings.records import Hour
from shared.runtime.errors import BusError, SettingError
from shared.runtime.settings import load
from tidegate.archive import recorded_files
from tidegate.archive.engines.live_engine import LiveEngine
from tidegate.archive.job import NONE, Caption, DetectionSettings, Embed, Job, Piece, pieces
from tidegate.client.times import instant, now_here
from tidegate.local import recording_keys, running

# The default seconds between captions.
USUAL_EVERY_S = 60.0


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

    format, runtime, precision: as in DetectorOptions. usual: the default settings. own: whether the store is that of
    the system that runs here. key_file: for encrypted recordings. rules: for all cameras.
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
    format: str = ""
    runtime: str = ""
    precision: str = ""
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
        raise BusError(f"the server does not answer ({e!r}): see its log, or run 'tidegate doctor'") from e
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
        format=request.format,
        runtime=request.runtime,
        precision=request.precision,
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


def request_from_options(
    home: Path,
    notify: Callable[[str], None],
    since: str,
    until: str | None,
    store: str | None,
    output: str | None,
    rules: Path | None,
    live: bool,
    **options: Any,
) -> RunRequest:
    """Return the request. notify: receives reasons to wait. Raises TidegateError."""
    now = now_here()
    begin, end = instant("--since", since, now), instant("--until", until, now) if until else now
    if begin >= end:
        raise SettingError("--until is to be after --since")
    cv = load(CvSettings, {k: v for k, v in os.environ.items() if k.startswith("CV_")})
    # The random suffix tells runs apart that start in the same second.
    run = f"{now.astimezone(dt.UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
    if live:
        options["model"] = _model_of_cv(home, options, notify)
    caption = _caption_request(*(options.pop(name) for name in ("caption", "caption_every", "caption_prompt")))
    device, embed = options.pop("device") or ("" if live else cv.cv_device), options.pop("embed")
    if options["model"] == NONE and not embed and not caption:
        raise SettingError("--model none detects nothing: give --embed or --caption, or another model")
    embedding = _embed_settings(embed, device) if embed else None
    if options["model"] == NONE and embedding:
        # Without a detector, workers need the embedder's device.
        device = embedding.device
    return RunRequest(
        usual=_usual(cv),
        run=run,
        own=store is None,
        key_file=key_file(home if store is None else None),
        store=absolute_location(store or os.environ.get("RECORDER_STORE") or str(home / "recordings")),
        output=absolute_location(output or str(home / "reanalyzed" / run)),
        since=begin,
        until=end,
        model=options.pop("model") or cv.cv_model,
        device=device,
        format=cv.cv_model_format,
        runtime=cv.cv_runtime,
        precision=cv.cv_precision,
        embed=embedding,
        describe=caption,
        batch_size=cv.cv_batch_size,
        rules=book.read(rules.read_bytes(), str(rules)) if rules else None,
        **options,
    )


def _usual(cv: CvSettings) -> DetectionSettings:
    """Return what holds for cameras without settings of their own."""
    return DetectionSettings(
        fps=cv.cv_fps, min_score=cv.cv_min_score, tiles=cv.cv_tiles, classes=tuple(cv.classes() or ())
    )


def _model_of_cv(home: Path, options: Mapping[str, Any], notify: Callable[[str], None]) -> str:
    """Return the model of cv's replicas, as a job names it. Raises TidegateError."""
    for option in ("model", "device", "embed"):
        if options[option]:
            raise SettingError(f"with --live cv's replicas look, as they are: leave out --{option}")
    with LiveEngine(home, 1, notify) as live:
        return live.model()


def _embed_settings(model: str, device: str) -> Embed:
    """Return the embedding settings of a model. Raises SettingError."""
    usual = load(EmbedSettings, {k: v for k, v in os.environ.items() if k.startswith("EMBED_")})
    # OpenVINO models run on a CPU.
    on_cpu = model.startswith("openvino:")
    return Embed(
        model=model,
        # EMBED_PRETRAINED names weights of a model that has none of its own.
        pretrained="" if ":" in model or "/" in model else usual.embed_pretrained,
        device="cpu" if on_cpu else device,
        fps=usual.embed_fps,
        batch_size=usual.embed_batch_size,
    )


def _caption_request(caption: bool, every_s: float | None, prompt: str | None) -> CaptionRequest | None:
    """Return the caption options; None: no captions. Raises SettingError."""
    if not caption:
        if every_s or prompt:
            raise SettingError("--caption-every and --caption-prompt say how captions are made: give --caption, too")
        return None
    from tidegate.archive.captions.captioner import load_vlm_settings

    usual = load_vlm_settings()
    return CaptionRequest(
        frames=usual.vlm_frames,
        size=usual.vlm_size,
        usual=CaptionPlan(
            every_s=usual.vlm_caption_every_s or USUAL_EVERY_S,
            chunk_s=usual.vlm_caption_chunk_s,
            overlap_s=usual.vlm_caption_overlap_s,
        ),
        usual_prompt=usual.vlm_caption_prompt,
        every_s=every_s,
        prompt=prompt,
    )


def absolute_location(location: str) -> str:
    """Return a location that does not depend on the working directory."""
    return location if "://" in location else str(Path(location).expanduser().resolve())


def key_file(home: Path | None) -> str:
    """Return the path of the recordings' keys. Links are not resolved: their targets differ between machines."""
    path = os.environ.get(KEY_FILE) or (recording_keys.used(home) if home else "")
    return str(Path(path).expanduser().absolute()) if path else ""
