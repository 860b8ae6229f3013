"""The names other programs rely on: streams, durables, buckets and subjects. Pure."""

from __future__ import annotations

import re
from typing import Annotated

from msgspec import Meta

from shared.runtime.errors import SettingError

# The server's account that holds the streams, and nobody else than `admin`.
ACCOUNT = "TIDEGATE"
# The prefix of JetStream's requests.
API = "$JS.API"
# The server's own account, and its answer to whether its streams store.
SYSTEM = "$SYS"
HEALTH = "$SYS.REQ.SERVER.PING.HEALTHZ"
# What requests to JetStream are called in an account that has none: under their own name the server would refuse them.
# Clients use the usual name, which the account maps to this one.
IMPORTED_API = "JS"

MEDIA = "MEDIA"
EVENTS = "EVENTS"
# A copy of the alerts and incidents in EVENTS, which other kinds of event can't push out.
ALERTS = "ALERTS"
# Jobs for a vision language model. What is verified for alerts has a stream of its own: nothing else takes its room.
VLM = "VLM"
ASKS = "ASKS"
CAPTIONS = "CAPTIONS"
# What was left out of a segment while capacity was short, to be looked at later.
BACKFILL = "BACKFILL"
DLQ = "DLQ"
# What arrived and what it cost, for months.
USAGE = "USAGE"
# What people changed by the console.
AUDIT = "AUDIT"

CAMERAS = "cameras"
CREDENTIALS = "credentials"
LEASES = "leases"
PARTITIONS = "partitions"
RULES = "rules"
ANALYTICS = "analytics"
SCALER = "scaler"
# A camera's background, by which a segment in which nothing happens is known.
SCENES = "scenes"
# Who may use the console, and what each of them has reviewed.
CONSOLE = "console"
REVIEWS = "reviews"

# What is recorded of each camera and how far, who records which, and what is to be recorded of each.
RECORDER = "recorder"
RECORDERS = "recorders"
RECORDINGS = "recordings"
# How far each run of `tidegate reanalyze` is.
RUNS = "runs"

# The streams of jobs and their consumers, the most urgent first.
VLM_WORK = ((VLM, "vlm-verify"), (ASKS, "vlm-ask"), (CAPTIONS, "vlm-caption"))
# The consumer of MEDIA by which captions are planned.
VLM_PLAN = "vlm-plan"

# What subjects of events begin with, and of those that were found in recordings: who hears the first hears no other.
EVENT = "events"
# The kinds of event that ALERTS copies.
COPIED = ("alerts", "incidents")
PAST = "past"

MAX_DELIVERIES = "$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES"

EMBED_TEXT = "svc.embed.text"
EMBED_IMAGE = "svc.embed.image"
FIND = "svc.find"
FIND_CLIP = "svc.find.clip"
ASK = "svc.ask"
RECORDING = "svc.recording"
RECORDING_VIDEO = "svc.recording.video"
RECORDING_HOURS = "svc.recording.hours"
# The prefix of subjects by which services that answer requests are discovered.
DISCOVERY = "$SRV"
# Those that every service answers.
DISCOVER_ALL = tuple(f"{DISCOVERY}.{verb}" for verb in ("PING", "INFO", "STATS"))

# The end of a pattern: Python's `$` lets a final line break pass.
END = r"(?![\s\S])"
# What a camera, a replica or a service may be called: one token of a subject.
TOKEN = rf"^[A-Za-z0-9_-]{{1,64}}{END}"
Token = Annotated[str, Meta(pattern=TOKEN, description="1 to 64 letters, digits, '-' or '_'")]


def check_camera(camera: str) -> str:
    """Return `camera` if it is one NATS token of up to 64 characters. Raises SettingError."""
    return check_token(camera, "camera id")


def check_token(text: str, what: str) -> str:
    """The same of any name. what: how the error calls it."""
    if not re.search(TOKEN, text):
        raise SettingError(
            f"{what} {text!r} can't be used: take 1 to 64 letters, digits, '-' or '_', such as 'lobby-2'"
        )
    return text


def api(*tokens: str) -> str:
    """Subject of a request to JetStream, such as `$JS.API.STREAM.INFO.MEDIA`."""
    return ".".join((API, *tokens))


def imported(request: str) -> str:
    """What a request to JetStream is called in an account that has no JetStream of its own."""
    return IMPORTED_API + request.removeprefix(API)


def source(service: str) -> str:
    """`ce-source` of what a service says: `/tidegate/cv`."""
    return f"/tidegate/{service}"


def media(camera: str) -> str:
    """Subject of a camera's segments."""
    return f"media.{camera}"


def removed(camera: str) -> str:
    """Key in `cameras` of the settings of a camera that was removed: no camera's id has a dot."""
    return f"removed.{camera}"


def is_removed(key: str) -> bool:
    """Whether a key of `cameras` is that of a camera that was removed."""
    return key.startswith(removed(""))


def event(kind: str, camera: str) -> str:
    """Subject of one kind of event of a camera, such as `events.detections.lobby`, or `past.detections.lobby`."""
    return f"{kind}.{camera}" if kind.startswith(f"{PAST}.") else f"{EVENT}.{kind}.{camera}"


def past(kind: str) -> str:
    """The kind of event that says the same of what was recorded: `past.detections`, a subject of its own."""
    return f"{PAST}.{kind}"


def revised(kind: str) -> str:
    """The kind of event that takes the place of one of `kind`: `revisions.detections`, a subject of its own."""
    return f"revisions.{kind}"


def backfill(service: str, camera: str) -> str:
    """Subject of what a service has put off of a camera's segments, such as `jobs.cv.backfill.lobby`."""
    return f"jobs.{service}.backfill.{camera}"


def backfilling(service: str) -> str:
    """The consumer of BACKFILL by which a service takes what it has put off."""
    return f"{service}-backfill"


def kind_of(subject: str) -> str:
    """The kind of an event, by its subject: `detections` of `events.detections.lobby`; what `past` gives is whole."""
    return subject.removeprefix(f"{EVENT}.").rpartition(".")[0]


def job(kind: str, camera: str) -> str:
    """Subject of one kind of job for a vision language model, such as `jobs.vlm.verify.lobby`."""
    return f"jobs.vlm.{kind}.{camera}"


def dead_letters(service: str) -> str:
    """Subject of what a service could not process."""
    return f"dlq.{service}"


def usage(service: str) -> str:
    """Subject on which the processes of a service say what they have used."""
    return f"usage.{service}"


def audit(action: str) -> str:
    """Subject on which the console says what somebody changed: `audit.camera.add`."""
    return f"audit.{action}"


def stored(subject: str) -> str:
    """Core NATS subject on which the server republishes the headers of what it stored from `subject`."""
    return f"stored.{subject}"


def change(bucket: str, key: str) -> str:
    """Core NATS subject on which the server republishes what it stored in a bucket, for those who mirror it."""
    return f"changes.{bucket}.{key}"


def micro(service: str) -> str:
    """The name by which a service that answers requests is found as a NATS micro service."""
    return f"tidegate-{service}"


def discovery(service: str) -> tuple[str, ...]:
    """Subjects on which the replicas of a NATS micro service are found and counted, one and all."""
    return tuple(f"{DISCOVERY}.{verb}.{service}{end}" for verb in ("PING", "INFO", "STATS") for end in ("", ".*"))


def explain(service: str) -> str:
    """Subject that answers with how many replicas of a service are needed, and why."""
    return f"svc.scaler.explain.{service}"


def look(service: str, by: str = "") -> str:
    """Subject on which replicas that have time ask for second looks; on that of `by` they fetch and answer them."""
    return f"svc.look.{service}.{by}" if by else f"svc.look.{service}"


def stats(service: str, replica: str) -> str:
    """Core NATS subject of a worker's heartbeat, which no stream keeps: the scaler and the live view read it."""
    return f"scale.{service}.{replica}"


def overlap(pattern: str, other: str) -> bool:
    """Whether there is a subject that both patterns match."""
    pairs = list(zip(pattern.split("."), other.split("."), strict=False))
    for ours, theirs in pairs:
        if ">" in (ours, theirs):
            return True
        if "*" not in (ours, theirs) and ours != theirs:
            return False
    return len(pattern.split(".")) == len(other.split("."))


def safe_name(text: str) -> str:
    """`text` as a model's name: characters that an event id can't hold become `-`."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", text).strip("-.") or "model"
