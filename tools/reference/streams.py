"""Streams, consumers, buckets, subjects and rights: from the topology that `tidegate setup` applies."""

from __future__ import annotations

from collections.abc import Iterator

from nats.js.api import ConsumerConfig, StreamConfig

from shared.contract import names, segment, topology
from shared.contract.rights import identities
from shared.contract.topology import TopologySettings
from shared.contract.work import backfill, runs, stats
from tools.reference import structs
from tools.reference.markdown import code, page, table

INTRO = """`tidegate setup` creates these and updates what differs; services only bind to them. Sizes are the defaults,
which [settings](settings.md#tidegate-setup) change. A camera id is 1 to 64 letters, digits, `-` or `_`."""

SEGMENTS = """A segment is one fragmented MP4 that starts at a keyframe. Its headers, all text, say what is in it. A
camera whose keyframes are further apart than `INGEST_SEGMENT_S` is cut between them: such a *dependent* segment
carries `Key-Seq`, the sequence of the segment that starts the group of pictures, and `shared.video.gop.earlier`
fetches what comes before it. A camera with intra refresh has no keyframes: its segments start at recovery points, and
`Recovery` says after how many frames pictures are right where decoding begins there. Their `Key-Seq` names an earlier
such segment, from which all of their pictures are right. Width and height are as coded. Where the video asks for a
rotation, by its track's matrix or by a message in H.264 or H.265, `shared.video.decode` gives upright frames, and the
size and the boxes of events are those of upright frames. `Nats-Msg-Id` is an HMAC of `<camera>/<epoch>/<n>`, and
`traceparent` is passed on."""

BACKFILL = """A job on `jobs.<service>.backfill.<camera>` names a segment with deferred frames. Only the service that
deferred them takes it, [while it is idle](../how-to/extend.md#deferred-frames)."""

RUNS = """`tidegate reanalyze` writes [how far it is](../how-to/reanalyze.md#while-it-goes-on) into the bucket `runs`,
as JSON, under its own id."""

REQUESTS = """Any NATS client with the right identity may ask these. [Search](../how-to/search.md#svcfind),
[recording](../how-to/record.md) and [asking](../how-to/ask.md#svcask) describe the fields."""

BEATS = """Workers say how they do on `scale.<service>.<replica>`, once a second, over core NATS. It is not stored."""

RIGHTS = """Each service and each kind of app is an identity of its own on the server, in an account of its own, which
imports what the identity works with and nothing else. Requests to JetStream, such as `$JS.API.STREAM.INFO.MEDIA`, are
called `JS.STREAM.INFO.MEDIA` there: clients use the usual name, which the account maps. `admin` alone is in the account
that holds the streams. `tidegate up` makes a password for each identity in `<data>/secrets`, readable by you alone.
`tidegate reader add` makes more identities, each with [a consumer of its own](../how-to/subscribe.md)."""

DAY_S = 24 * 3600.0


def text() -> str:
    """Return the page."""
    defaults = TopologySettings()
    return page(
        "Streams, subjects and rights",
        INTRO,
        "## Streams",
        table(
            ("stream", "subjects", "kept", "at most", "when full", "same id dropped for"),
            map(_stream, topology.streams(defaults)),
        ),
        "MEDIA and the streams of jobs republish headers of what they store, without payloads, on `stored.<subject>`. "
        "EVENTS republishes whole messages of `events.>`, as which apps hear them. Buckets say what changes on "
        "`changes.<bucket>.<key>`.",
        "## Consumers",
        table(
            ("consumer", "stream", "takes", "ack wait", "most deliveries", "begins with"),
            (_consumer(s, c) for s, c in topology.consumers(defaults)),
        ),
        "With `EMBED_CROPS=detections` the consumer `embed` is one of EVENTS, and takes `events.detections.>`.",
        "## Buckets",
        table(
            ("bucket", "holds", "kept", "at most"),
            ((code(b), BUCKETS[b], _duration(c.max_age or 0), _most(c)) for b, c in topology.buckets(defaults).items()),
        ),
        "## A run over recordings",
        RUNS,
        structs.fields_table(runs.Reanalysis),
        "## A segment",
        SEGMENTS,
        structs.fields_table(segment.Segment),
        "## Deferred frames",
        BACKFILL,
        structs.fields_table(backfill.Backfill),
        "## Requests",
        REQUESTS,
        table(("subject", "asks for"), ((code(subject), what) for subject, what in REQUESTS_OF.items())),
        "## Heartbeats",
        BEATS,
        structs.fields_table(stats.WorkerStats),
        "## Rights",
        RIGHTS,
        *_rights(),
    )


BUCKETS = {
    names.CAMERAS: "one entry a camera, without its password and the path of its URL",
    names.CREDENTIALS: "a camera's user and password and the address they are for, which ingest alone may read",
    names.LEASES: "which ingest has which camera",
    names.PARTITIONS: "which analytics has which partition",
    names.RULES: "one entry a camera: its zones, lines and rules",
    names.ANALYTICS: "checkpoints of analytics",
    names.SCENES: "what a camera's scene looks like while nothing happens, for cv",
    names.SCALER: "what the scaler has seen of the last hour",
    names.MACHINES: "how many replicas each machine of `tidegate workers` may run, and how many all shall run",
    names.CONSOLE: "who may use the console, and hashes of sessions, tokens and links",
    names.REVIEWS: "which incidents each of them has reviewed",
    names.RECORDER: "how far each camera is recorded, and what of its last hour is where",
    names.RECORDERS: "which recorder has which partition",
    names.RECORDINGS: "what is to be recorded of each camera, and for how long it is kept",
    names.RUNS: "how far each run of `tidegate reanalyze` is",
    names.SITE: "the changes of an unfinished `tidegate apply`, for `admin` alone",
    names.WEBHOOK: "where the webhook begins, and how its endpoint does",
    names.ENDPOINT: "where alerts are posted, with its secret, which the webhook alone may read",
}

REQUESTS_OF = {
    names.FIND: "moments that match words, a picture, another moment or labels",
    names.FIND_CLIP: "the video of a moment",
    names.RECORDING: "what was recorded of a camera in a time, by groups of pictures, and what is missing",
    names.RECORDING_VIDEO: "the video of such groups",
    names.RECORDING_HOURS: "how much is recorded of each camera, and by the hour",
    names.ASK: "an answer, a caption, a summary or a verdict of a vision language model",
    names.EMBED_TEXT: "the vector of a text",
    names.EMBED_IMAGE: "the vector of a picture",
    names.explain("<service>"): "why a service has as many replicas as it has",
}


def _most(stream: StreamConfig) -> str:
    if (stream.max_msgs or 0) > 0:
        return f"{stream.max_msgs:,} messages"
    size = stream.max_bytes or 0
    return f"{size / 1024**3:g} GiB" if size > 0 else "no limit: `admin` alone writes it"


def _stream(stream: StreamConfig) -> tuple[str, ...]:
    full = "the oldest goes" if str(stream.discard.value if stream.discard else "") == "old" else "new ones are refused"
    copied = [(s.name, x.src) for s in stream.sources or [] for x in s.subject_transforms or []]
    of = "".join(f"a copy of {code(name)}: " for name in dict.fromkeys(name for name, _ in copied))
    return (
        code(str(stream.name)),
        of + ", ".join(map(code, [*(stream.subjects or []), *(subject for _, subject in copied)])),
        _duration(stream.max_age or 0),
        _most(stream),
        full,
        _duration(stream.duplicate_window or 120),
    )


def _consumer(stream: str, consumer: ConsumerConfig) -> tuple[str, ...]:
    takes = consumer.filter_subjects or [str(consumer.filter_subject)]
    tries = str(consumer.max_deliver) if (consumer.max_deliver or -1) > 0 else "no limit"
    policy = consumer.deliver_policy.value if consumer.deliver_policy else "all"
    begins = "what comes after setup" if policy == "new" else "the oldest message"
    heads = ", headers alone" if consumer.headers_only else ""
    return (
        code(str(consumer.durable_name)),
        code(stream),
        ", ".join(map(code, takes)) + heads,
        _duration(consumer.ack_wait or 0),
        tries,
        begins,
    )


def _rights() -> Iterator[str]:
    for identity, rights in identities.permissions().items():
        yield f"### {identity}"
        yield f"May publish: {', '.join(map(code, rights['publish'])) or 'nothing'}."
        yield f"May subscribe: {', '.join(map(code, rights['subscribe'])) or 'nothing'}."
        if rights.get("allow_responses"):
            yield "May answer requests."


def _duration(seconds: float) -> str:
    if not seconds:
        return "for good"
    for unit, length in (("days", DAY_S), ("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= length:
            number = seconds / length
            return f"{number:g} {unit if number != 1 else unit.removesuffix('s')}"
    return f"{seconds:g} s"
