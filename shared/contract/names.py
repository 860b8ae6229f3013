"""The names that other programs rely on: streams, durables, buckets and subjects. Pure."""

from __future__ import annotations

import hashlib
import re
from typing import Annotated

from msgspec import Meta

from shared.runtime.errors import SettingError

# The server's account that holds the streams; its only user is `admin`.
ACCOUNT = "TIDEGATE"
# The prefix of JetStream's requests.
API = "$JS.API"
# The server's own account, and its health request.
SYSTEM = "$SYS"
HEALTH = "$SYS.REQ.SERVER.PING.HEALTHZ"
# The name of JetStream requests in an account without JetStream: the server would refuse the usual name there. Clients
# use the usual name, which the account maps to this one.
IMPORTED_API = "JS"

MEDIA = "MEDIA"
EVENTS = "EVENTS"
# A copy of the alerts and incidents in EVENTS, which other kinds of event can't evict.
ALERTS = "ALERTS"
# One picture with each alert.
PICTURES = "PICTURES"
# Jobs for a vision language model. Verifications for alerts have a stream of their own: nothing else takes its room.
VLM = "VLM"
ASKS = "ASKS"
CAPTIONS = "CAPTIONS"
# Jobs for frames that were deferred while capacity was short.
BACKFILL = "BACKFILL"
DLQ = "DLQ"
# Arrivals and costs, for months.
USAGE = "USAGE"
# Changes by users of the console.
AUDIT = "AUDIT"

CAMERAS = "cameras"
CREDENTIALS = "credentials"
LEASES = "leases"
PARTITIONS = "partitions"
RULES = "rules"
ANALYTICS = "analytics"
SCALER = "scaler"
# The machines whose `tidegate workers` share a service's replicas.
MACHINES = "machines"
# A camera's background, which identifies static scenes.
SCENES = "scenes"
# The users of the console, and their reviews.
CONSOLE = "console"
REVIEWS = "reviews"

# The recorded ranges and progress of each camera, the assignment of cameras to recorders, and the recording policies.
RECORDER = "recorder"
RECORDERS = "recorders"
RECORDINGS = "recordings"
# The progress of each run of `tidegate reanalyze`.
RUNS = "runs"
# The changes of an unfinished `tidegate apply`, which include passwords.
SITE = "site"
# The start and the state of the webhook. Its consumer of EVENTS has the same name.
WEBHOOK = "webhook"
# The endpoint that alerts are posted to, with its whole URL and its secret. Its key is WEBHOOK.
ENDPOINT = "endpoint"

# The consumer of EVENTS that stores pictures, its service, and the first token of their subjects; and all of these.
PICTURE = "pictures"
ALL_PICTURES = f"{PICTURE}.alerts.*.*"

# The streams of jobs and their consumers, the most urgent first.
VLM_WORK = ((VLM, "vlm-verify"), (ASKS, "vlm-ask"), (CAPTIONS, "vlm-caption"))
# The consumer of MEDIA that plans captions.
VLM_PLAN = "vlm-plan"

# The subject prefixes of live events and of results from recordings: subscribers of the first hear no other.
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
# Erasures, which only `admin` may request.
ERASE_RECORDINGS = "svc.recording.erase"
ERASE_INDEX = "svc.find.erase"
# The prefix of subjects by which services that answer requests are discovered.
DISCOVERY = "$SRV"
# Those that every service answers.
DISCOVER_ALL = tuple(f"{DISCOVERY}.{verb}" for verb in ("PING", "INFO", "STATS"))

# The end of a pattern: Python's `$` also matches before a final line break.
END = r"(?![\s\S])"
# The id of an incident as one token of a subject, with `~` for each dot; any other id becomes a checksum.
_INCIDENT = rf"^[A-Za-z0-9_.-]{{1,200}}{END}"
# The name of a camera, a replica or a service: one token of a subject.
TOKEN = rf"^[A-Za-z0-9_-]{{1,64}}{END}"
Token = Annotated[str, Meta(pattern=TOKEN, description="1 to 64 letters, digits, '-' or '_'")]


def check_camera(camera: str) -> str:
    """Return `camera` if it is one NATS token of up to 64 characters. Raises SettingError."""
    return check_token(camera, "camera id")


def check_token(text: str, what: str) -> str:
    """Check any name like a camera's. what: its kind, for the error."""
    if not re.search(TOKEN, text):
        raise SettingError(
            f"{what} {text!r} can't be used: take 1 to 64 letters, digits, '-' or '_', such as 'lobby-2'"
        )
    return text


def api(*tokens: str) -> str:
    """Return the subject of a request to JetStream, such as `$JS.API.STREAM.INFO.MEDIA`."""
    return ".".join((API, *tokens))


def imported(request: str) -> str:
    """Return the subject of a JetStream request in an account without its own JetStream."""
    return IMPORTED_API + request.removeprefix(API)


def source(service: str) -> str:
    """Return `ce-source` of a service's events: `/tidegate/cv`."""
    return f"/tidegate/{service}"


def media(camera: str) -> str:
    """Return the subject of a camera's segments, which are analysed."""
    return f"media.{camera}"


def main(camera: str) -> str:
    """Return the subject of the main stream of a camera whose substream is analysed."""
    return f"main.{camera}"


def streams_of(camera: str) -> tuple[str, str]:
    """Return the subjects of a camera's video in MEDIA: the analysed one, and its main stream if that is another."""
    return media(camera), main(camera)


def removed(camera: str) -> str:
    """Return the key in `cameras` of a removed camera's settings: no camera's id has a dot."""
    return f"removed.{camera}"


def is_removed(key: str) -> bool:
    """Return whether a key of `cameras` is of a removed camera."""
    return key.startswith(removed(""))


def event(kind: str, camera: str) -> str:
    """Return the subject of one kind of event of a camera: `events.detections.lobby`, or `past.detections.lobby`."""
    return f"{kind}.{camera}" if kind.startswith(f"{PAST}.") else f"{EVENT}.{kind}.{camera}"


def picture(camera: str, incident: str) -> str:
    """Return the subject of an alert's picture. camera: may be `*`. incident: its id, in any characters."""
    if re.search(_INCIDENT, incident):
        return f"{PICTURE}.alerts.{camera}.{incident.replace('.', '~')}"
    return f"{PICTURE}.alerts.{camera}.~{hashlib.sha256(incident.encode()).hexdigest()}"


def past(kind: str) -> str:
    """Return the kind of event for recordings: `past.detections`, a subject of its own."""
    return f"{PAST}.{kind}"


def revised(kind: str) -> str:
    """Return the kind of event that replaces one of `kind`: `revisions.detections`, a subject of its own."""
    return f"revisions.{kind}"


def backfill(service: str, camera: str) -> str:
    """Return the subject of a service's deferred jobs for a camera, such as `jobs.cv.backfill.lobby`."""
    return f"jobs.{service}.backfill.{camera}"


def backfilling(service: str) -> str:
    """Return the consumer of BACKFILL for a service's deferred jobs."""
    return f"{service}-backfill"


def kind_of(subject: str) -> str:
    """Return the kind of an event's subject: `detections` of `events.detections.lobby`; a `past` kind is whole."""
    return subject.removeprefix(f"{EVENT}.").rpartition(".")[0]


def job(kind: str, camera: str) -> str:
    """Return the subject of one kind of job for a vision language model, such as `jobs.vlm.verify.lobby`."""
    return f"jobs.vlm.{kind}.{camera}"


def dead_letters(service: str) -> str:
    """Return the subject of a service's dead letters."""
    return f"dlq.{service}"


def usage(service: str) -> str:
    """Return the subject of the usage reports of a service's processes."""
    return f"usage.{service}"


def audit(action: str) -> str:
    """Return the subject of a change by a user of the console: `audit.camera.add`."""
    return f"audit.{action}"


def stored(subject: str) -> str:
    """Return the core NATS subject on which the server republishes the headers of messages stored from `subject`."""
    return f"stored.{subject}"


def change(bucket: str, key: str) -> str:
    """Return the core NATS subject on which the server republishes changes of a bucket, for mirrors."""
    return f"changes.{bucket}.{key}"


def micro(service: str) -> str:
    """Return the name of a service as a NATS micro service."""
    return f"tidegate-{service}"


def discovery(service: str) -> tuple[str, ...]:
    """Return the subjects that find and count the replicas of a NATS micro service, single or all."""
    return tuple(f"{DISCOVERY}.{verb}.{service}{end}" for verb in ("PING", "INFO", "STATS") for end in ("", ".*"))


def explain(service: str) -> str:
    """Return the subject that answers how many replicas a service needs, and why."""
    return f"svc.scaler.explain.{service}"


def reanalysis(service: str, by: str = "") -> str:
    """Return the subject on which idle replicas ask for reanalysis tasks; they answer a task on that of `by`."""
    return f"svc.look.{service}.{by}" if by else f"svc.look.{service}"


def stats(service: str, replica: str) -> str:
    """Return the core NATS subject of a worker's heartbeat, which no stream stores: the scaler and the live view read
    it.
    """
    return f"scale.{service}.{replica}"


def overlap(pattern: str, other: str) -> bool:
    """Return whether there is a subject that both patterns match."""
    pairs = list(zip(pattern.split("."), other.split("."), strict=False))
    for ours, theirs in pairs:
        if ">" in (ours, theirs):
            return True
        if "*" not in (ours, theirs) and ours != theirs:
            return False
    return len(pattern.split(".")) == len(other.split("."))


def safe_name(text: str) -> str:
    """Return `text` as a model's name: characters that an event id can't hold become `-`."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", text).strip("-.") or "model"
