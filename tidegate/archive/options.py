"""The request of a run, from the command's options, with defaults from the environment."""

from __future__ import annotations

import datetime as dt
import os
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from services.cv.settings import CvSettings
from services.embed.settings import EmbedSettings
from services.vlm.planning.stretches import CaptionPlan
from shared.contract import rules as book
from shared.recordings.opening import KEY_FILE
from shared.runtime.errors import SettingError
from shared.runtime.settings import load
from tidegate.archive.job import NONE, DetectionSettings, Embed
from tidegate.archive.live_engine import LiveEngine
from tidegate.archive.planning import CaptionRequest, RunRequest
from tidegate.client.times import instant, now_here
from tidegate.local import recording_keys

# The default seconds between captions.
USUAL_EVERY_S = 60.0


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
    usual = DetectionSettings(
        fps=cv.cv_fps, min_score=cv.cv_min_score, tiles=cv.cv_tiles, classes=tuple(cv.classes() or ())
    )
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
        usual=usual,
        run=run,
        own=store is None,
        key_file=key_file(home if store is None else None),
        store=absolute_location(store or os.environ.get("RECORDER_STORE") or str(home / "recordings")),
        output=absolute_location(output or str(home / "reanalyzed" / run)),
        since=begin,
        until=end,
        model=options.pop("model") or cv.cv_model,
        device=device,
        embed=embedding,
        describe=caption,
        batch_size=cv.cv_batch_size,
        rules=book.read(rules.read_bytes(), str(rules)) if rules else None,
        **options,
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
    from tidegate.archive.captioner import load_vlm_settings

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
