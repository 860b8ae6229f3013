"""What a ScaledObject may contain: the parameters of our scaler, and the fields that the local autoscaler reads."""

from __future__ import annotations

import msgspec
from msgspec import inspect

from services.scaler.demand.policy import DemandSettings
from services.scaler.keda import scaledobject
from services.scaler.live.metadata import CamerasQuery
from tools.reference import structs
from tools.reference.events import link
from tools.reference.markdown import code, page, table

INTRO = """A ScaledObject is the one file that says how a service scales. KEDA reads it in a cluster, and `tidegate up
--scaled-object FILE` on one machine. The files of the services are in `deploy/keda/`."""

METADATA = """These are parameters of the URL of a trigger of type `metrics-api`, as in
`/demand?service=cv&coldStart=60`, whose `valueLocation` is `demand` and whose `targetValue` is `"1"`. In
a trigger of type `external` or `external-push` they are metadata. Every value is a text. Times are
seconds, or have one of the units `ms`, `s` and `m`: `"90"`, `"90s"`, `"1.5m"`. A key that is not known
is refused by name."""

FIELDS = (
    """The local autoscaler reads these fields, and refuses by name what it does not know, rather than ignore it."""
)

ADDRESSING = (
    (
        "service",
        "text",
        "needed",
        "whose replicas are asked for: `cv`, `embed`, `vlm`, `ingest`, or a service of your own",
    ),
    ("stream", "text", "of the service", "the stream that it works on, or with commas the stream of each consumer"),
    ("consumer", "text", "of the service", "its consumer, or several with commas, whose work is added up"),
)
METRICS_URL = (
    "metricsUrl",
    "URL",
    "",
    "a page of Prometheus text with the workers' counters, where their heartbeats can't reach the scaler; "
    "`SCALER_METRICS_PAGES` of the scaler names it too",
)
BUCKET = ("bucket", "text", "`cameras`", "the bucket whose enabled cameras are counted")


def text() -> str:
    """Return the page."""
    demand = [(code(key), *rest) for key, *rest in [*ADDRESSING, *_fields(DemandSettings), METRICS_URL]]
    cameras = [(code(key), *rest) for key, *rest in [*_fields(CamerasQuery, "cameras_per_replica"), BUCKET]]
    head = ("key", "takes", "default", "means")
    blocks = [INTRO, "## What `tidegate-scaler` is asked", METADATA, table(head, demand)]
    blocks += ["With `service: ingest` it takes these instead:", table(head, cameras), "## Fields", FIELDS]
    triggers = (scaledobject.JetStreamTrigger, scaledobject.MetricsApiTrigger, scaledobject.PrometheusTrigger)
    for name, struct in structs.reachable(scaledobject.Spec, *triggers).items():
        blocks += [f"### {name}", structs.summary(struct), structs.fields_table(struct, link)]
    return page("ScaledObject", *blocks)


def metadata_keys() -> list[str]:
    """Return every key of a demand's metadata that this page names."""
    return [key for key, *_ in [*ADDRESSING, *_fields(DemandSettings), METRICS_URL]]


def _fields(struct: type[msgspec.Struct], *only: str) -> list[tuple[str, str, str, str]]:
    info = inspect.type_info(struct)
    assert isinstance(info, inspect.StructType)
    meanings = structs.meanings(struct)
    return [
        (
            _key(f.name),
            structs.words(f.type),
            f"`{f.default:g}`",
            meanings.get(f.name, "cameras that one replica of ingest takes"),
        )
        for f in info.fields
        if not only or f.name in only
    ]


def _key(field: str) -> str:
    first, *rest = field.removesuffix("_s").split("_")
    return first + "".join(word.capitalize() for word in rest)
