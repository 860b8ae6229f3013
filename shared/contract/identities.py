"""Who may do what on the server: one identity a service, each with the least it works with. Pure.

No identity but `admin` may both publish to a subject and pull from it, create or delete anything, or read another's
replies. A worker can't read camera credentials; a viewer can't write. `analytics` reads EVENTS by direct get, and
writes there what only it writes.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from typing import NotRequired, TypedDict

from shared.contract import names

ACCOUNT = "TIDEGATE"


class Permissions(TypedDict):
    """allow_responses: may answer a request once, wherever its sender wants the answer: in two minutes, or as said."""

    publish: list[str]
    subscribe: list[str]
    allow_responses: NotRequired[bool | dict[str, int | str]]


def _info(stream: str, consumer: str) -> str:
    return f"$JS.API.CONSUMER.INFO.{stream}.{consumer}"


def _read_bucket(bucket: str) -> list[str]:
    """Bind to a KV bucket and read single keys."""
    return [f"$JS.API.STREAM.INFO.KV_{bucket}", f"$JS.API.DIRECT.GET.KV_{bucket}.$KV.{bucket}.>"]


def _watch_bucket(bucket: str) -> list[str]:
    """The same, and watch it: through an ordered consumer of its own, which nats-py creates without a name."""
    return [
        *_read_bucket(bucket),
        f"$JS.API.CONSUMER.CREATE.KV_{bucket}",
        f"$JS.API.CONSUMER.INFO.KV_{bucket}.>",
        f"$JS.FC.KV_{bucket}.>",
    ]


def _pull(stream: str, consumer: str) -> list[str]:
    """Take and acknowledge what a durable consumer has."""
    return [
        f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}",
        _info(stream, consumer),
        f"$JS.ACK.{stream}.{consumer}.>",
    ]


def _answers(*subjects: str) -> list[str]:
    """Subscriptions of a service that answers requests there, and is discovered and counted as NATS micro has it."""
    return [*subjects, f"{names.DISCOVERY}.>"]


def _worker(service: str, stream: str, kind: str) -> Permissions:
    return {
        "publish": [
            *_pull(stream, service),
            f"$JS.API.DIRECT.GET.{names.MEDIA}",
            f"$JS.API.DIRECT.GET.{names.MEDIA}.>",
            *_read_bucket(names.CAMERAS),
            f"events.{kind}.>",
            f"dlq.{service}",
            f"scale.{service}.>",
        ],
        "subscribe": [f"_INBOX_{service}.>"],
    }


def _embed() -> Permissions:
    """A worker that also answers queries, and that works from detections where objects are embedded too."""
    worker = _worker("embed", names.MEDIA, "embeddings")
    return {
        "publish": [*worker["publish"], *_pull(names.EVENTS, "embed")],
        "subscribe": [*worker["subscribe"], *_answers(names.EMBED_TEXT, names.EMBED_IMAGE)],
        "allow_responses": True,
    }


def _vlm() -> Permissions:
    """A worker that reads the video and the captions its jobs name, and asks search which frames to look at."""
    return {
        "publish": [
            *(right for consumer in names.VLM_CONSUMERS for right in _pull(names.VLM, consumer)),
            f"$JS.API.DIRECT.GET.{names.MEDIA}",
            f"$JS.API.DIRECT.GET.{names.MEDIA}.>",
            f"$JS.API.DIRECT.GET.{names.EVENTS}",
            *(f"events.{kind}.>" for kind in ("captions", "verdicts", "answers", "summaries")),
            names.FIND,
            "dlq.vlm",
            "scale.vlm.>",
        ],
        "subscribe": ["_INBOX_vlm.>"],
    }


PERMISSIONS: Mapping[str, Permissions] = {
    "admin": {"publish": [">"], "subscribe": [">"]},
    "ingest": {
        "publish": [
            "media.>",
            "events.cameras.>",
            *_watch_bucket(names.CAMERAS),
            *_watch_bucket(names.CREDENTIALS),
            *_watch_bucket(names.LEASES),
            *(f"$KV.{names.LEASES}.{key}.>" for key in ("camera", "process")),
        ],
        "subscribe": ["_INBOX_ingest.>"],
    },
    "cv": _worker("cv", names.MEDIA, "detections"),
    "embed": _embed(),
    "vlm": _vlm(),
    # It asks for work, and so is not who does it.
    "vlm-front": {
        "publish": [
            *(f"jobs.vlm.{kind}.>" for kind in ("caption", "verify", "ask", "summarize")),
            *_pull(names.MEDIA, names.VLM_PLAN),
            *_watch_bucket(names.CAMERAS),
        ],
        "subscribe": [
            "_INBOX_vlm-front.>",
            *(f"events.{kind}.>" for kind in ("answers", "summaries", "verdicts")),
            *_answers(names.ASK),
        ],
        # A question waits for a replica to start, and may wait for ten minutes.
        "allow_responses": {"max": 1, "expires": "15m"},
    },
    # It reads EVENTS as a log, by direct get: what it may not do is write what it reads.
    "analytics": {
        "publish": [
            f"$JS.API.DIRECT.GET.{names.EVENTS}",
            *(f"events.{kind}.>" for kind in ("tracks", "incidents", "alerts", "counts")),
            "jobs.vlm.verify.>",
            "dlq.analytics",
            *_watch_bucket(names.RULES),
            *_watch_bucket(names.LEASES),
            *(f"$KV.{names.LEASES}.{key}.>" for key in ("partition", "analytics")),
            *_read_bucket(names.ANALYTICS),
            f"$JS.API.DIRECT.GET.KV_{names.ANALYTICS}",
            f"$KV.{names.ANALYTICS}.>",
        ],
        "subscribe": ["_INBOX_analytics.>"],
    },
    "webhook": {
        "publish": [*_pull(names.EVENTS, "webhook"), "dlq.webhook"],
        "subscribe": ["_INBOX_webhook.>"],
    },
    "search": {
        "publish": [
            *_pull(names.EVENTS, "search"),
            # Which video is still kept.
            f"$JS.API.STREAM.INFO.{names.MEDIA}",
            f"$JS.API.DIRECT.GET.{names.MEDIA}",
            f"$JS.API.DIRECT.GET.{names.MEDIA}.>",
            names.EMBED_TEXT,
            names.EMBED_IMAGE,
            "dlq.search",
        ],
        "subscribe": ["_INBOX_search.>", *_answers(names.FIND, names.FIND_CLIP)],
        "allow_responses": True,
    },
    "scaler": {
        "publish": [
            # EVENTS is what embed works from where it embeds objects too.
            *(f"$JS.API.STREAM.INFO.{stream}" for stream in (names.MEDIA, names.VLM, names.EVENTS)),
            *(_info(stream, "*") for stream in (names.MEDIA, names.VLM, names.EVENTS)),
            *_watch_bucket(names.CAMERAS),
        ],
        # `stored` has headers alone: the scaler sees no video.
        "subscribe": ["_INBOX_scaler.>", "scale.>", names.stored(">"), names.explain("*")],
        "allow_responses": True,
    },
    "viewer": {"publish": [], "subscribe": ["_INBOX_viewer.>", "events.>", "scale.>"]},
    # For apps that ask: what is answered costs GPU time, and tells of footage.
    "asker": {
        "publish": [names.ASK, f"{names.DISCOVERY}.>"],
        "subscribe": ["_INBOX_asker.>"],
    },
    # For apps that search: what is found shows footage, which a viewer of events does not see.
    "finder": {
        "publish": [names.FIND, names.FIND_CLIP, f"{names.DISCOVERY}.>"],
        "subscribe": ["_INBOX_finder.>"],
    },
}


def new_passwords() -> dict[str, str]:
    """A password for every identity."""
    return {user: secrets.token_urlsafe(24) for user in PERMISSIONS}


def accounts_block(passwords: Mapping[str, str]) -> str:
    """The `accounts` block of nats-server's configuration, for these passwords (plain, or bcrypt for a cluster)."""
    users = []
    for user, password in passwords.items():
        p = PERMISSIONS[user]
        allow = json.dumps(
            {
                "publish": {"allow": p["publish"]} if p["publish"] else {"deny": [">"]},
                "subscribe": {"allow": p["subscribe"]},
                "allow_responses": p.get("allow_responses", False),
            }
        )
        users.append(f"      {{ user: {user}, password: {json.dumps(password)}, permissions: {allow} }}")
    body = "\n".join(users)
    return f"accounts {{\n  {ACCOUNT} {{\n    jetstream: enabled\n    users: [\n{body}\n    ]\n  }}\n}}\n"
