"""The names other programs rely on: streams, durables, buckets and subjects. Pure."""

from __future__ import annotations

import re

from shared.runtime.errors import SettingError

MEDIA = "MEDIA"
EVENTS = "EVENTS"
VLM = "VLM"
DLQ = "DLQ"

CAMERAS = "cameras"
CREDENTIALS = "credentials"
LEASES = "leases"
RULES = "rules"
ANALYTICS = "analytics"

# Consumers of VLM, the most urgent first; and of MEDIA, for what is to be captioned.
VLM_CONSUMERS = ("vlm-verify", "vlm-ask", "vlm-caption")
VLM_PLAN = "vlm-plan"

MAX_DELIVERIES = "$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES"

EMBED_TEXT = "svc.embed.text"
EMBED_IMAGE = "svc.embed.image"
FIND = "svc.find"
FIND_CLIP = "svc.find.clip"
ASK = "svc.ask"
# What every service that answers requests is discovered by.
DISCOVERY = "$SRV"

_CAMERA = re.compile(r"[A-Za-z0-9_-]{1,64}")


def check_camera(camera: str) -> str:
    """Return `camera` if it is one NATS token of up to 64 characters. Raises SettingError."""
    if not _CAMERA.fullmatch(camera):
        raise SettingError(
            f"camera id {camera!r} can't be used: take 1 to 64 letters, digits, '-' or '_', such as 'lobby-2'"
        )
    return camera


def media(camera: str) -> str:
    """Subject of a camera's segments."""
    return f"media.{camera}"


def event(kind: str, camera: str) -> str:
    """Subject of one kind of event of a camera, such as `events.detections.lobby`."""
    return f"events.{kind}.{camera}"


def job(kind: str, camera: str) -> str:
    """Subject of one kind of job for a vision language model, such as `jobs.vlm.verify.lobby`."""
    return f"jobs.vlm.{kind}.{camera}"


def service_of(consumer: str) -> str:
    """The service that works on what a consumer has: `vlm` for `vlm-verify`."""
    return consumer.partition("-")[0]


def dead_letters(service: str) -> str:
    """Subject of what a service could not process."""
    return f"dlq.{service}"


def stored(subject: str) -> str:
    """Core NATS subject on which the headers of a message to `subject` are told once it is stored."""
    return f"stored.{subject}"


def explain(service: str) -> str:
    """Subject that answers with how many replicas of a service are needed, and why."""
    return f"svc.scaler.explain.{service}"


def stats(service: str, replica: str) -> str:
    """Core NATS subject of a worker's heartbeat: not stored, read by the scaler and the live view."""
    return f"scale.{service}.{replica}"


def safe_name(text: str) -> str:
    """`text` as a model's name: characters that an event id can't hold become `-`."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", text).strip("-.") or "model"
