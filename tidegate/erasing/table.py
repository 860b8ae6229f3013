"""Every store, in one table: what it holds of a camera, how long, and how an erasure reaches it. Pure.

A test compares it with the streams and buckets that there are: a new one has to be decided here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

from shared.contract import names

# messages: of a stream, by subject. letters: of DLQ. entries: of a bucket. service: its owner erases it on request.
# expires: it has no video, and is gone after its retention. stays: it is not erased, and `why` has the reason.
Method = Literal["messages", "letters", "entries", "service", "expires", "stays"]


class Store(NamedTuple):
    """holds: of a camera. subjects: of its messages or entries, where `{camera}` is the camera's id.

    settings: whether it holds settings: these go only with all of a camera that is removed. why: the reason why it is
    not erased, or what of it stays. limit: what limits it in addition to the age of its stream; the whole retention, if
    it is no stream.
    """

    holds: str
    way: Method
    subjects: tuple[str, ...] = ()
    settings: bool = False
    why: str = ""
    limit: str = ""


_EXPIRES = "it names the camera, and has nothing that it filmed"

# In the order of their erasure: first what others are made of.
STREAMS: Mapping[str, Store] = {
    names.MEDIA: Store(
        "video segments, of both its streams", "messages", names.streams_of("{camera}"), limit="MEDIA_MAX_BYTES"
    ),
    names.VLM: Store("jobs: verifications of alerts", "messages", (names.job("*", "{camera}"),)),
    names.ASKS: Store("jobs: questions and summaries", "messages", (names.job("*", "{camera}"),)),
    names.CAPTIONS: Store("jobs: captions", "messages", (names.job("*", "{camera}"),)),
    names.BACKFILL: Store("jobs: deferred frames", "messages", (names.backfill("*", "{camera}"),)),
    names.DLQ: Store(
        "dead letters, whole messages",
        "letters",
        why="the server's own reports of a message without an answer name no camera",
        limit="DLQ_MAX_BYTES",
    ),
    names.EVENTS: Store(
        "events of every kind, revisions, and results from recordings",
        "messages",
        ("events.*.{camera}", "events.*.*.{camera}", "past.*.{camera}"),
        limit="EVENTS_MAX_BYTES",
    ),
    names.ALERTS: Store("a copy of alerts and incidents", "messages", ("events.*.{camera}",)),
    names.PICTURES: Store(
        "a picture with each alert",
        "messages",
        (names.PICTURE + ".alerts.{camera}.*",),
        limit="as long as the camera's incidents",
    ),
    names.USAGE: Store("numbers of segments and seconds", "expires", why="it has sums by the minute, and no picture"),
    names.AUDIT: Store(
        "who changed the camera, and who erased it",
        "stays",
        why="it proves the erasure, and no one can change it",
    ),
}

BUCKETS: Mapping[str, Store] = {
    names.REVIEWS: Store("which of its incidents were reviewed", "entries"),
    names.SCENES: Store("small pictures of its static scene", "entries", ("{camera}",)),
    names.ANALYTICS: Store("objects that are followed now", "entries", ("*.*.{camera}",)),
    names.RECORDER: Store("times of its last files", "entries", ("camera.{camera}",)),
    names.RULES: Store("rules, zones and lines", "entries", ("{camera}",), settings=True),
    names.RECORDINGS: Store(
        "its recording policy, and masks",
        "entries",
        ("camera.{camera}",),
        settings=True,
        why="groups that list it: 'tidegate recordings set' changes them",
    ),
    names.CREDENTIALS: Store("its password", "entries", ("{camera}",), settings=True),
    names.CAMERAS: Store("its address and settings", "entries", ("{camera}", "removed.{camera}"), settings=True),
    names.RUNS: Store("progress of 'tidegate reanalyze'", "expires", why=_EXPIRES),
    names.SITE: Store("its settings in an unfinished apply", "stays", why="'tidegate apply' completes and erases them"),
    names.LEASES: Store("which process reads it", "expires", why=_EXPIRES),
    names.PARTITIONS: Store("nothing: which process has a partition", "expires", why="it names no camera"),
    names.RECORDERS: Store("nothing: which process has a partition", "expires", why="it names no camera"),
    names.MACHINES: Store("nothing: machines of workers", "expires", why="it names no camera"),
    names.SCALER: Store("nothing: history of replicas", "expires", why="it names no camera"),
    names.WEBHOOK: Store("nothing: the webhook's position", "stays", why="it names no camera"),
    names.ENDPOINT: Store("nothing: where alerts are posted", "stays", why="it names no camera"),
    names.CONSOLE: Store(
        "which users may see it", "stays", why="users' settings: an admin of the console changes them"
    ),
}

RECORDED, INDEX = "recordings", "index"
# What services have in files of their own.
SERVICES: Mapping[str, Store] = {
    RECORDED: Store(
        "files of video in RECORDER_STORE",
        "service",
        why="older versions of objects in a bucket that keeps them",
        limit="as its policy says",
    ),
    INDEX: Store(
        "vectors, labels and boxes for 'tidegate find'", "service", limit="SEARCH_MAX_AGE_S, by default 7 days"
    ),
}

# What no erasure reaches.
OUTSIDE: Mapping[str, Store] = {
    "logs": Store("lines that name it", "stays", why="logs have no video: delete files of the log", limit="your logs'"),
    "exports": Store(
        "clips, Parquet and reports that people saved",
        "stays",
        why="Tidegate does not know where they are",
        limit="yours",
    ),
    "receivers": Store(
        "what webhooks, readers and apps have received",
        "stays",
        why="it is in other systems: erase it there",
        limit="theirs",
    ),
    "backups": Store("all of the above", "stays", why="snapshots of disks and buckets are yours", limit="yours"),
}


def every() -> dict[str, Store]:
    """Return all stores by name: of a stream, of a bucket as `KV name`, and the others."""
    buckets = {f"KV {name}": store for name, store in BUCKETS.items()}
    return {**STREAMS, **SERVICES, **buckets, **OUTSIDE}


def subjects(store: Store, camera: str, prefix: str = "") -> list[str]:
    """Return the subjects of a camera in a store. prefix: of a bucket's."""
    return [prefix + subject.replace("{camera}", camera) for subject in store.subjects]
