"""What the options of a run say, with what the environment does where they say nothing."""

from __future__ import annotations

import datetime as dt
import os
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from services.cv.settings import CvSettings
from services.embed.settings import EmbedSettings
from services.vlm.stretches import CaptionPlan
from shared.contract import rules as book
from shared.recordings.opening import KEY_FILE
from shared.runtime.errors import SettingError
from shared.runtime.settings import load
from tidegate.archive.asking import Asked, Describe
from tidegate.archive.job import NONE, Embed, Look
from tidegate.archive.live import Live
from tidegate.client.times import instant, now_here
from tidegate.local import recording_keys

# Seconds between captions, where nothing says.
USUAL_EVERY_S = 60.0


def asked(
    home: Path,
    tell: Callable[[str], None],
    since: str,
    until: str | None,
    store: str | None,
    output: str | None,
    rules: Path | None,
    live: bool,
    **options: Any,
) -> Asked:
    """What options say. tell: hears of what is waited for. Raises TidegateError."""
    now = now_here()
    begin, end = instant("--since", since, now), instant("--until", until, now) if until else now
    if begin >= end:
        raise SettingError("--until is to be after --since")
    cv = load(CvSettings, {k: v for k, v in os.environ.items() if k.startswith("CV_")})
    usual = Look(fps=cv.cv_fps, min_score=cv.cv_min_score, tiles=cv.cv_tiles, classes=tuple(cv.classes() or ()))
    # Several may begin in one second.
    run = f"{now.astimezone(dt.UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
    if live:
        options["model"] = _model_of_cv(home, options, tell)
    describe = _described(*(options.pop(name) for name in ("caption", "caption_every", "caption_prompt")))
    device, embed = options.pop("device") or ("" if live else cv.cv_device), options.pop("embed")
    if options["model"] == NONE and not embed and not describe:
        raise SettingError("--model none detects nothing: give --embed or --caption, or another model")
    embedding = _embed(embed, device) if embed else None
    if options["model"] == NONE and embedding:
        # Workers have what the only model needs.
        device = embedding.device
    return Asked(
        usual=usual,
        run=run,
        own=store is None,
        key_file=key_file(home if store is None else None),
        store=place(store or os.environ.get("RECORDER_STORE") or str(home / "recordings")),
        output=place(output or str(home / "reanalyzed" / run)),
        since=begin,
        until=end,
        model=options.pop("model") or cv.cv_model,
        device=device,
        embed=embedding,
        describe=describe,
        batch_size=cv.cv_batch_size,
        rules=book.read(rules.read_bytes(), str(rules)) if rules else None,
        **options,
    )


def _model_of_cv(home: Path, options: Mapping[str, Any], tell: Callable[[str], None]) -> str:
    """What cv's replicas look with, as a job has it. Raises TidegateError."""
    for option in ("model", "device", "embed"):
        if options[option]:
            raise SettingError(f"with --live cv's replicas look, as they are: leave out --{option}")
    with Live(home, 1, tell) as live:
        return live.model()


def _embed(model: str, device: str) -> Embed:
    """Raises SettingError."""
    usual = load(EmbedSettings, {k: v for k, v in os.environ.items() if k.startswith("EMBED_")})
    # Those have weights of their own, and run on a CPU.
    own = model.startswith("openvino:")
    return Embed(
        model=model,
        # What stands for another model's weights is not for one that has its own.
        pretrained="" if ":" in model or "/" in model else usual.embed_pretrained,
        device="cpu" if own else device,
        fps=usual.embed_fps,
        batch_size=usual.embed_batch_size,
    )


def _described(caption: bool, every_s: float | None, prompt: str | None) -> Describe | None:
    """None where nothing is to be captioned. Raises SettingError."""
    if not caption:
        if every_s or prompt:
            raise SettingError("--caption-every and --caption-prompt say how captions are made: give --caption, too")
        return None
    from tidegate.archive.captioning import settings_of

    usual = settings_of()
    return Describe(
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


def place(where: str) -> str:
    """For processes that run in other folders, too."""
    return where if "://" in where else str(Path(where).expanduser().resolve())


def key_file(home: Path | None) -> str:
    """Where the keys of recordings are. Links are not followed: they may lead elsewhere on another machine."""
    named = os.environ.get(KEY_FILE) or (recording_keys.used(home) if home else "")
    return str(Path(named).expanduser().absolute()) if named else ""
