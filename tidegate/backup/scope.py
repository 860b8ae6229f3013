"""The one table of a backup's contents: each bucket, each stream, and the files of a data directory. Pure."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

from shared.client import secret_entries
from shared.contract import names

# always: settings of people. streams: history, by `--streams`. never: the state of processes, or video.
When = Literal["always", "streams", "never"]


class Scope(NamedTuple):
    """reason: why, for people."""

    when: When
    reason: str


# In the order of the file. Cameras come last, next to their credentials: restored, they start ingest.
BUCKETS: dict[str, Scope] = {
    names.CONSOLE: Scope("always", "people, groups, tokens and saved searches; no sessions and links"),
    names.REVIEWS: Scope("always", "reviews of incidents"),
    names.WEBHOOK: Scope("always", "where the webhook starts"),
    names.ENDPOINT: Scope("always", "where alerts are posted, with its secret"),
    names.RECORDINGS: Scope("always", "recording policies"),
    names.RULES: Scope("always", "zones, lines and rules"),
    names.CREDENTIALS: Scope("always", "passwords and paths of cameras"),
    names.CAMERAS: Scope("always", "cameras and their settings"),
    names.LEASES: Scope("never", "leases of running processes"),
    names.PARTITIONS: Scope("never", "leases of running processes"),
    names.RECORDERS: Scope("never", "leases of running processes"),
    names.MACHINES: Scope("never", "presence of running machines"),
    names.ANALYTICS: Scope("never", "checkpoints of streams that a new server does not have"),
    names.SITE: Scope("never", "the changes of an unfinished apply, which a backup completes first"),
    names.SCALER: Scope("never", "the last hour of demand"),
    names.SCENES: Scope("never", "backgrounds, which expire within the hour"),
    names.RECORDER: Scope("never", "progress in MEDIA; recordings have their own index"),
    names.RUNS: Scope("never", "progress of reanalyses, whose results are elsewhere"),
}
STREAMS: dict[str, Scope] = {
    names.AUDIT: Scope("always", "changes by people"),
    names.ALERTS: Scope("streams", "alerts that EVENTS has dropped; the server copies the others from EVENTS"),
    names.EVENTS: Scope("streams", "events"),
    names.PICTURES: Scope("streams", "pictures of alerts"),
    names.USAGE: Scope("streams", "arrivals and costs"),
    names.DLQ: Scope("streams", "dead letters"),
    names.MEDIA: Scope("never", "minutes of video"),
    names.VLM: Scope("never", "jobs on video"),
    names.ASKS: Scope("never", "jobs on video"),
    names.CAPTIONS: Scope("never", "jobs on video"),
    names.BACKFILL: Scope("never", "jobs on video"),
}
# The subjects by which restored messages enter a stream. ALERTS is filled from EVENTS; advisories of the server that
# DLQ holds are of MEDIA.
SUBJECTS: dict[str, tuple[str, ...]] = {
    names.AUDIT: (names.audit(">"),),
    names.ALERTS: tuple(names.event(kind, "*") for kind in names.COPIED),
    names.EVENTS: (f"{names.EVENT}.>", f"{names.PAST}.>"),
    names.PICTURES: (names.ALL_PICTURES,),
    names.USAGE: (names.usage("*"),),
    names.DLQ: (names.dead_letters(">"),),
}
# Streams whose sequences are in ids: a new one starts above those of the backup.
NUMBERED = (names.MEDIA, names.EVENTS, names.ALERTS)

SECRETS, MODELS, INDEX = "secrets", "models", "index"
TENANTS = "tenants.json"
# The store's key encrypts a store that is not in the backup; the server's configuration is written at each start.
_OWN = re.compile(r"\.lock|\.gitignore|store\.key|accounts\.conf|nats(-\d+)?\.conf|.*\.new")


def buckets(*, passwords: bool) -> list[str]:
    """Return the buckets of a backup, in their order. passwords: those that hold secrets, too."""
    left_out = () if passwords else secret_entries.BUCKETS
    return [b for b, scope in BUCKETS.items() if scope.when == "always" and b not in left_out]


def streams(*, history: bool) -> list[str]:
    """Return the streams of a backup, in their order. history: those of `--streams` too."""
    return [s for s, scope in STREAMS.items() if scope.when == "always" or (history and scope.when == "streams")]


def has_secret(file: str, *, passwords: bool = True) -> bool:
    """Return whether a backup has this file of the folder of secrets."""
    return file == TENANTS if not passwords else not _OWN.fullmatch(file)
