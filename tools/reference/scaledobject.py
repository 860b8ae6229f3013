"""What a ScaledObject may contain: the parameters of our scaler, and the fields that the local autoscaler reads."""

from __future__ import annotations

import msgspec
from msgspec import inspect

from services.scaler.demand.parameters import DemandSettings
from services.scaler.live.metadata import CamerasQuery
from tidegate.keda import scaledobject
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

MODELLED = """`tidegate up`, `tidegate simulate` and `tidegate audit` decide as KEDA and the HPA do, by these rules:

- polls, activation, `cooldownPeriod`, and scaling to zero and back;
- ceil(metric / target), with the tolerance of each direction, stabilisation windows, and rate policies of which the
  widest counts;
- the bounds, and the HPA's own rules where there is no `behavior`;
- `fallback`, and errors without one;
- the largest of several triggers, or with `scalingModifiers` their sum;
- the triggers `nats-jetstream`, `metrics-api`, `prometheus` (its query's result, no PromQL; `tidegate up` has nothing
  to query and refuses it), `external` and `external-push` (whose metric has a target of 1);
- the triggers that the HPA is created from while a scaler can't be reached.

`tidegate up` and `tidegate workers` poll earlier in one case: the first message for a service without replicas starts
one before `pollingInterval` ends, if a trigger queries Tidegate's scaler."""

REFUSED_INTRO = (
    """KEDA takes these in a cluster. Here they are refused by name, as is every field that is not on this page."""
)

# What KEDA or the HPA takes and the model does not, and the remedy.
REFUSED = (
    ("spec.idleReplicaCount", "remove it: an idle service has `minReplicaCount` replicas"),
    ("spec.initialCooldownPeriod", "remove it: `cooldownPeriod` begins with the first activity"),
    ("spec.fallback.behavior", "only `static` and `currentReplicasIfHigher`: take one of them"),
    ("spec.advanced.scalingModifiers.formula", "only the sum of all triggers, such as `verify + ask`: write it so"),
    ("spec.advanced.scalingModifiers.target", "only a whole number of 1 or more: round it"),
    ("spec.advanced.scalingModifiers.activationTarget", 'only `"0"`: remove it'),
    ("spec.advanced.scalingModifiers.metricType", "remove it: the target is per replica"),
    ("selectPolicy", "only `Max`: remove it"),
    ("spec.triggers[0].type", "only the types above, so no `cpu` and no `memory`: remove such a trigger"),
    ("spec.triggers[0].metricType", "only `AverageValue`: remove it, and give a target per replica"),
    ("useCachedMetrics", "remove it: each sync reads the metric"),
    ("ignoreNullValues", 'only `"true"`: remove it'),
    (
        "metadata.annotations.autoscaling.keda.sh/",
        "no pause, no forced activation: annotate it in the cluster",
    ),
)

FIELDS = "The fields that are read, with KEDA's defaults."

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
    blocks += ["With `service: ingest` it takes these instead:", table(head, cameras)]
    refused = [(code(name.replace("[0]", "[]")), remedy) for name, remedy in REFUSED]
    blocks += ["## What is modelled", MODELLED, "## What is refused", REFUSED_INTRO, table(("here", "remedy"), refused)]
    blocks += ["## Fields", FIELDS]
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
