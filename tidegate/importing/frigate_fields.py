"""Fields of Frigate without a counterpart in a site file: the reason, and the replacement. Pure.

The longest pattern that begins a path wins. A camera's own field has the row of the field for all cameras.
"""

from __future__ import annotations

from typing import Any

from tidegate.importing.report import APPROXIMATED, DEFAULT, MAPPED, NONE, Path

_UI = "pages of the console have no such setting (docs/console.md)"
_GENAI = (
    "one of the site file describes a camera's video, not one object: caption_prompt, caption_every_s; rules: verify"
)
_SPEED = "speeds are in heights of the frame a second: write a rule of kind speed (docs/how-to/rules.md)"
_SOUND = "sound is not analysed"

# Patterns by path; `*` is any one name.
PATTERNS: dict[tuple[str, ...], str] = {
    ("mqtt",): "events are in NATS: subscribe there (docs/how-to/subscribe.md)",
    ("detectors",): "the detector is a setting of cv: CV_MODEL (docs/how-to/detect.md)",
    ("model",): "the model is a setting of cv: 'tidegate model use' (docs/how-to/detect.md)",
    ("database",): "the state is in NATS: 'tidegate up --data' sets its folder",
    ("tls",): "TLS is set up with the console and NATS (docs/security.md)",
    ("networking",): "ports are settings of the services (docs/reference/settings.md)",
    ("proxy",): "people sign in to the console (docs/console.md)",
    ("auth",): "people sign in to the console: 'tidegate console' (docs/console.md)",
    ("audio",): _SOUND,
    ("audio_transcription",): _SOUND,
    ("logger",): "logs: LOG_LEVEL (docs/reference/settings.md)",
    ("environment_vars",): "set variables in the environment of 'tidegate apply'",
    ("birdseye",): "the console shows cameras in a grid: " + _UI,
    ("ffmpeg",): "no FFmpeg runs: ingest reads RTSP, and DECODE_DEVICE selects the decoder (docs/how-to/detect.md)",
    ("ffmpeg", "hwaccel_args"): "DECODE_DEVICE is cpu, cuda or vaapi, for all cameras (docs/how-to/detect.md)",
    ("ffmpeg", "retry_interval"): "ingest reconnects with a growing pause; it is not a setting",
    ("detect", "min_initialized"): "the tracker has no such setting: hold_s of a rule ignores short ones",
    ("detect", "max_disappeared"): "the tracker bridges gaps itself: end_after_s of a rule does so for incidents",
    ("detect", "stationary"): "tracks of objects that stand still go on; a rule of kind stopped reports them",
    ("detect", "annotation_offset"): "both streams are dated by one clock: no offset is needed",
    ("objects", "filters", "*", "threshold"): "objects are judged frame by frame: raise rules.filters.min_score",
    ("objects", "filters", "*", "min_ratio"): "filters bound area and height: min_height, max_height",
    ("objects", "filters", "*", "max_ratio"): "filters bound area and height: min_height, max_height",
    ("objects", "genai"): _GENAI,
    ("genai",): "endpoints of models are settings of vlm: VLM_URL, VLM_MODEL (docs/how-to/endpoints.md)",
    ("review", "genai"): _GENAI,
    ("motion",): "static scenes skip the models by pictures, without areas (docs/how-to/detect.md)",
    (
        "motion",
        "mask",
    ): "rules.masks would ignore objects in it, which Frigate does not do: add it there if meant",
    ("notifications",): "alerts are posted to an HTTP endpoint (docs/how-to/webhook.md)",
    ("record", "expire_interval"): "the recorder removes files each minute; it is not a setting",
    ("record", "sync_recordings"): "the recorder's index is built from its files",
    ("record", "export"): "'tidegate clip' saves a time range",
    ("record", "preview"): "the console plays recordings themselves",
    ("snapshots",): "each alert has a picture in PICTURES, with its box (docs/how-to/pictures.md)",
    ("semantic_search",): "'tidegate find' needs the services embed and search (docs/how-to/search.md)",
    ("face_recognition",): "faces are not recognised",
    ("lpr",): "number plates are not read: a rule's verify can ask a vision language model",
    ("classification",): "objects have no second classification: a rule's verify asks a vision language model",
    ("go2rtc",): "ingest reads cameras themselves; keep go2rtc for live views",
    ("go2rtc", "streams"): "no input of a camera uses this stream",
    ("live",): _UI,
    ("timestamp_style",): "nothing is drawn into video",
    ("best_image_timeout",): "each alert has one picture (docs/how-to/pictures.md)",
    ("webui_url",): _UI,
    ("type",): "number plates are not read",
    ("friendly_name",): "a camera is named by its id",
    ("zones", "*", "friendly_name"): "a zone is named by its id",
    ("zones", "*", "color"): _UI,
    ("zones", "*", "distances"): _SPEED,
    ("zones", "*", "speed_threshold"): _SPEED,
    ("zones", "*", "filters"): "filters are of a camera's whole frame: rules.filters",
    ("onvif",): "pan, tilt and zoom are not controlled; keep ONVIF tools for it",
    ("triggers",): "'tidegate find' searches on demand; a rule's verify asks a vision language model",
    ("profiles",): "a rule's schedule turns it on by the clock: rules.schedules",
    ("ui",): _UI,
    ("telemetry",): "measurements are metrics for Prometheus (docs/reference/metrics.md)",
    ("camera_groups", "*", "icon"): _UI,
    ("camera_groups", "*", "order"): _UI,
    ("rtmp",): "go2rtc replaced it in Frigate, too",
    ("plus",): "models are chosen by 'tidegate model' (docs/how-to/detect.md)",
}
# Of features that Tidegate lacks: with `enabled: false` nothing is missing.
_FEATURES = {
    "audio", "audio_transcription", "birdseye", "face_recognition", "lpr", "semantic_search", "notifications", "mqtt",
    "snapshots", "auth", "tls", "rtmp", "onvif", "genai",
}  # fmt: skip


def row_of(path: Path, value: Any) -> tuple[str, str]:
    """Return (status, text) of a field that no camera used."""
    keys = path[2:] if path[0] == "cameras" and len(path) > 2 else path
    if keys == ("version",):
        return MAPPED, "selects the defaults by which the file is read"
    if any(part in ("friendly_name", "enabled_in_config") for part in keys[-1:]):
        return NONE, "it is named by its id in the site file"
    text = _text(keys)
    if text and value is False and keys[-1] == "enabled" and str(keys[0]) in _FEATURES | {"objects", "review"}:
        return DEFAULT, "it is off"
    if text and keys == ("snapshots", "enabled") and value is True:
        return APPROXIMATED, text
    if value in (None, [], {}, ""):
        return DEFAULT, "it is empty"
    return NONE, text or "this field is unknown here: see Frigate's documentation for its meaning"


def _text(keys: Path) -> str:
    for length in range(len(keys), 0, -1):
        for pattern, text in PATTERNS.items():
            if len(pattern) == length and all(p in ("*", k) for p, k in zip(pattern, keys, strict=False)):
                return text
    return ""
