"""A KEDA `ScaledObject` file into structs, checked as KEDA's webhook and the Kubernetes API server check it.

    scaled = load(Path("deploy/keda/cv.yaml"))
    scaled.spec.max_replica_count, scaled.triggers[0].lag_threshold

The file is the single source of a service's scaling settings, so nothing in it is skipped: an unknown field is an error
that names it. Rules: KEDA's `apis/keda/v1alpha1` and
`pkg/scalers/{nats_jetstream,metrics_api,prometheus,external}_scaler.go`, and the HPA's validation of `behavior`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
import yaml
from msgspec import Meta

from shared.runtime.errors import SettingError
from shared.runtime.telemetry import logger

ANNOTATIONS = "autoscaling.keda.sh/"
PAUSED = ANNOTATIONS + "paused"
PAUSED_REPLICAS = ANNOTATIONS + "paused-replicas"
PAUSED_SCALE_IN = ANNOTATIONS + "paused-scale-in"
PAUSED_SCALE_OUT = ANNOTATIONS + "paused-scale-out"
FORCE_ACTIVATION = ANNOTATIONS + "force-activation"

JETSTREAM = "nats-jetstream"
METRICS_API = "metrics-api"
PROMETHEUS = "prometheus"
EXTERNAL = "external"
EXTERNAL_PUSH = "external-push"
KNOWN = f"{JETSTREAM}, {METRICS_API}, {PROMETHEUS}, {EXTERNAL} or {EXTERNAL_PUSH}"
# Resource triggers measure containers, and there are none on one machine.
IGNORED = ("cpu",)

AtLeast0 = Annotated[int, Meta(ge=0)]
AtLeast1 = Annotated[int, Meta(ge=1)]

# With AverageValue the target is per replica, with Value for the sum of all replicas.
AVERAGE_VALUE = "AverageValue"
# The maximum characters of a file. libyaml's reader is fast, and bounds the nesting.
MOST = 256 * 1024
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

MetricType = Annotated[str, Meta(pattern="^(AverageValue|Value)$")]

# In a formula: a call, a number, or a mark other than `+`.
_NO_SUMMAND = re.compile(r"[A-Za-z_]\w*(?=\s*\()|\b\d[\w.]*|[^\w\s+]+")

T = TypeVar("T")

log = logger("scaler")


class _Model(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    pass


class RatePolicy(_Model, frozen=True, kw_only=True):
    """At most `value` pods, or percent of the pods, in any `period_seconds`."""

    type: Annotated[str, Meta(pattern="^(Pods|Percent)$")]
    value: AtLeast1
    period_seconds: Annotated[int, Meta(ge=1, le=1800)]


class ScalingRules(_Model, frozen=True, kw_only=True):
    """One direction of the HPA's `behavior`. None is the HPA's default for that direction."""

    stabilization_window_seconds: Annotated[int, Meta(ge=0, le=3600)] | None = None
    select_policy: Annotated[str, Meta(pattern="^(Max|Min|Disabled)$")] | None = None
    policies: Annotated[tuple[RatePolicy, ...], Meta(min_length=1)] | None = None
    tolerance: Annotated[float, Meta(ge=0)] | None = None


class Behavior(_Model, frozen=True, kw_only=True):
    scale_up: ScalingRules | None = None
    scale_down: ScalingRules | None = None


class HpaConfig(_Model, frozen=True, kw_only=True):
    """The HPA's settings. name: of the HPA in the cluster; ignored here."""

    behavior: Behavior | None = None
    name: str = ""


class ScalingModifiers(_Model, frozen=True, kw_only=True):
    """`scalingModifiers`: the HPA scales by the sum of all triggers, rather than by the largest.

    formula: the names of all triggers with a `+` between them. target: of the sum, per replica.
    """

    formula: str
    target: Annotated[str, Meta(pattern="^[1-9][0-9]*$")]
    activation_target: Annotated[str, Meta(pattern="^0$")] = "0"


class Advanced(_Model, frozen=True, kw_only=True):
    """`advanced`. restore_to_original_replica_count: for KEDA when the object is deleted; ignored here."""

    horizontal_pod_autoscaler_config: HpaConfig | None = None
    restore_to_original_replica_count: bool = False
    scaling_modifiers: ScalingModifiers | None = None


class Fallback(_Model, frozen=True, kw_only=True):
    """Replicas to run once a trigger has failed more than `failure_threshold` times in a row."""

    failure_threshold: AtLeast0
    replicas: AtLeast0
    behavior: Annotated[
        str,
        Meta(pattern="^(static|currentReplicas|currentReplicasIfHigher|currentReplicasIfLower)$"),
    ] = "static"


class ScaleTarget(_Model, frozen=True, kw_only=True):
    """`scaleTargetRef`. env_source_container_name: for `...FromEnv` metadata, which are refused here."""

    name: Annotated[str, Meta(min_length=1)]
    api_version: str = "apps/v1"
    kind: str = "Deployment"
    env_source_container_name: str = ""


class AuthenticationRef(_Model, frozen=True, kw_only=True):
    name: str
    kind: Annotated[str, Meta(pattern="^(Cluster)?TriggerAuthentication$")] = "TriggerAuthentication"


class TriggerSpec(_Model, frozen=True, kw_only=True):
    """A trigger as in the file. All its metadata are strings."""

    type: str
    metadata: dict[str, str]
    name: str = ""
    metric_type: Annotated[str, Meta(pattern="^(AverageValue|Value|Utilization)$")] = AVERAGE_VALUE
    use_cached_metrics: bool = False
    authentication_ref: AuthenticationRef | None = None


class Spec(_Model, frozen=True, kw_only=True):
    """`spec`, with KEDA's defaults. Intervals are seconds."""

    scale_target_ref: ScaleTarget
    triggers: Annotated[tuple[TriggerSpec, ...], Meta(min_length=1)]
    polling_interval: AtLeast1 = 30
    cooldown_period: AtLeast0 = 300
    initial_cooldown_period: AtLeast0 = 0
    min_replica_count: AtLeast0 = 0
    max_replica_count: AtLeast1 = 100
    idle_replica_count: AtLeast0 | None = None
    fallback: Fallback | None = None
    advanced: Advanced | None = None

    @property
    def behavior(self) -> Behavior | None:
        """The HPA's `behavior`; None if the file has none, which differs from an empty one."""
        hpa = self.advanced.horizontal_pod_autoscaler_config if self.advanced else None
        return hpa.behavior if hpa else None

    @property
    def modifiers(self) -> ScalingModifiers | None:
        return self.advanced.scaling_modifiers if self.advanced else None


class _Trigger(_Model, frozen=True, kw_only=True):
    """The common fields of triggers, besides their metadata.

    name: of its metric in a formula. use_cached_metrics: whether the HPA gets the value of KEDA's last poll.
    """

    name: str = ""
    metric_type: str = AVERAGE_VALUE
    use_cached_metrics: bool = False


class JetStreamTrigger(_Trigger, frozen=True, kw_only=True):
    """A `nats-jetstream` trigger with its metadata: it scales by a consumer's pending and in-flight messages."""

    stream: Annotated[str, Meta(min_length=1)]
    consumer: Annotated[str, Meta(min_length=1)]
    account: str = ""
    account_id: str = msgspec.field(default="", name="accountID")
    nats_server_monitoring_endpoint: str = ""
    use_https: bool = False
    lag_threshold: AtLeast1 = 10
    activation_lag_threshold: AtLeast0 = 0


class MetricsApiTrigger(_Trigger, frozen=True, kw_only=True):
    """A `metrics-api` trigger: the number at `value_location` of the page at `url`, which KEDA requests by HTTP.

    auth_mode, unsafe_ssl: for KEDA's connection; ignored here.
    """

    url: Annotated[str, Meta(min_length=1)]
    value_location: Annotated[str, Meta(min_length=1)]
    target_value: Annotated[float, Meta(ge=0.001)]
    activation_target_value: Annotated[float, Meta(ge=0)] = 0.0
    auth_mode: str = ""
    unsafe_ssl: bool = False


class PrometheusTrigger(_Trigger, frozen=True, kw_only=True):
    """A `prometheus` trigger: the one number that `query` gives, from the server at `server_address`.

    ignore_null_values: whether an empty result, NaN or an infinity is 0, rather than an error. The fields after it are
    for KEDA's request; ignored here.
    """

    server_address: Annotated[str, Meta(min_length=1)]
    query: Annotated[str, Meta(min_length=1)]
    threshold: Annotated[float, Meta(ge=0.001)]
    activation_threshold: float = 0.0
    ignore_null_values: bool = True
    query_parameters: str = ""
    namespace: str = ""
    custom_headers: str = ""
    auth_modes: str = ""
    timeout: str = ""
    unsafe_ssl: bool = False


class ExternalTrigger(_Trigger, frozen=True, kw_only=True):
    """An `external` trigger, or with `push` an `external-push` one: a gRPC server at `scaler_address` gives its metric.

    metadata: all other keys, for that server alone.
    """

    scaler_address: Annotated[str, Meta(min_length=1)]
    push: bool = False
    enable_tls: bool = msgspec.field(default=False, name="enableTLS")
    unsafe_ssl: bool = False
    metadata: dict[str, str] = {}


Trigger = JetStreamTrigger | MetricsApiTrigger | PrometheusTrigger | ExternalTrigger


class ScaledObject(msgspec.Struct, frozen=True, kw_only=True):
    """A checked file. paused: freeze the count, at `paused_replicas` if set.

    paused_scale_in: the count never falls, except to `maxReplicaCount`. paused_scale_out: it never rises, except to
    `minReplicaCount`. force_activation: it is active regardless of the triggers.
    """

    name: str
    spec: Spec
    triggers: tuple[Trigger, ...]
    paused: bool = False
    paused_replicas: int | None = None
    paused_scale_in: bool = False
    paused_scale_out: bool = False
    force_activation: bool = False


class _Metadata(_Model, frozen=True, kw_only=True):
    name: Annotated[str, Meta(pattern="^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$", max_length=63)]
    namespace: str = "default"
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class _Document(_Model, frozen=True, kw_only=True):
    api_version: Annotated[str, Meta(pattern="^keda.sh/v1alpha1$")]
    kind: str
    metadata: _Metadata
    spec: Spec


def load(path: Path) -> ScaledObject:
    """Return the ScaledObject in a file. Raises SettingError naming the file, the field and a valid value."""
    try:
        return parse(path.read_text(), str(path))
    except OSError as e:
        raise SettingError(f"{path} can't be read: {e.strerror}; give the path of a ScaledObject") from e


def parse(text: str, source: str = "ScaledObject") -> ScaledObject:
    """Return the one ScaledObject among the documents of `text`. Raises SettingError that starts with `source`."""
    document = _convert(_only_document(text, source), _Document, source)
    spec, annotations = document.spec, document.metadata.annotations
    triggers = _triggers(spec, source)
    for problem in (*_problems(spec, triggers), *_annotation_problems(annotations)):
        raise SettingError(f"{source}: {problem}")

    def is_set(annotation: str) -> bool:
        """Read an annotation as KEDA does: a text that is no boolean counts as true."""
        return annotations.get(annotation, "false") not in ("0", "f", "F", "false", "FALSE", "False")

    count = annotations.get(PAUSED_REPLICAS)
    return ScaledObject(
        name=document.metadata.name,
        spec=spec,
        triggers=triggers,
        paused=is_set(PAUSED) or count is not None,
        paused_replicas=None if count is None else int(count),
        paused_scale_in=is_set(PAUSED_SCALE_IN),
        paused_scale_out=is_set(PAUSED_SCALE_OUT),
        force_activation=is_set(FORCE_ACTIVATION),
    )


def _only_document(text: str, source: str) -> Any:
    if len(text) > MOST:
        raise SettingError(f"{source} has {len(text)} characters, and {MOST} are the most")
    try:
        documents = [d for d in yaml.load_all(text, LOADER) if isinstance(d, dict)]
    except Exception as e:  # PyYAML raises any error of its constructors
        raise SettingError(f"{source} is not YAML: {e}") from e
    found = [d for d in documents if d.get("kind") == "ScaledObject"]
    if len(found) != 1:
        raise SettingError(f"{source} holds {len(found)} documents of kind ScaledObject: it needs exactly one")
    return found[0]


def _problems(spec: Spec, triggers: Sequence[Trigger]) -> Iterator[str]:
    """Yield problems beyond a schema: bounds between fields, and combinations that KEDA refuses or can't maintain."""
    if spec.min_replica_count > spec.max_replica_count:
        yield (
            f"spec.minReplicaCount {spec.min_replica_count} is over spec.maxReplicaCount "
            f"{spec.max_replica_count}: lower the one or raise the other"
        )
    if spec.idle_replica_count is not None and spec.idle_replica_count >= spec.min_replica_count:
        yield (
            f"spec.idleReplicaCount {spec.idle_replica_count} is not under spec.minReplicaCount "
            f"{spec.min_replica_count}: lower it, or remove it to idle at the minimum"
        )
    if spec.idle_replica_count:
        yield (
            f"spec.idleReplicaCount {spec.idle_replica_count} can't hold: the HPA lifts any count from 1 up to "
            "spec.minReplicaCount; set it to 0 or remove it"
        )
    if not triggers:
        yield f"spec.triggers has none that can be read here: add one of type {KNOWN}"
    names = [t.name for t in spec.triggers if t.name]
    if twice := next((name for name in names if names.count(name) > 1), ""):
        yield f"spec.triggers has two of name {twice!r}: rename one"
    if spec.modifiers:
        yield from _formula_problems(spec.modifiers.formula, triggers)


def _formula_problems(formula: str, triggers: Sequence[Trigger]) -> Iterator[str]:
    """Yield what makes a formula other than the sum of all triggers. KEDA evaluates any expression of expr-lang."""
    if nameless := next((t for t in triggers if not t.name), None):
        yield f"spec.triggers[{triggers.index(nameless)}] has no name, by which the formula could use it: add one"
    names = [t.name for t in triggers]
    construct = _NO_SUMMAND.search(formula)
    has = f"has {construct[0]!r}" if construct else f"is {formula!r}"
    if construct or sorted(part.strip() for part in formula.split("+")) != sorted(names):
        yield (
            f"spec.advanced.scalingModifiers.formula {has}, and nothing but the sum of all triggers is modelled: "
            f"write {' + '.join(names)}, or take the formula out"
        )


def _annotation_problems(annotations: dict[str, str]) -> Iterator[str]:
    supported = (PAUSED, PAUSED_REPLICAS, PAUSED_SCALE_IN, PAUSED_SCALE_OUT, FORCE_ACTIVATION)
    for name in annotations:
        if name.startswith(ANNOTATIONS) and name not in supported:
            yield f"metadata.annotations.{name} is not one that this autoscaler honours: correct or remove it"
    count = annotations.get(PAUSED_REPLICAS, "0")
    if not count.isdecimal():
        yield f'metadata.annotations.{PAUSED_REPLICAS} is {count!r}: give a count, such as "0"'


def _triggers(spec: Spec, source: str) -> tuple[Trigger, ...]:
    out: list[Trigger] = []
    for i, trigger in enumerate(spec.triggers):
        where = f"spec.triggers[{i}]"
        if trigger.type in IGNORED:
            log.warning("trigger ignored", file=source, trigger=where, type=trigger.type)
        elif trigger.type not in _READERS:
            raise SettingError(
                f"{source}: {where}.type is {trigger.type!r}, which is not known here: take {KNOWN}, or remove it"
            )
        elif trigger.metric_type == "Utilization":
            raise SettingError(f"{source}: {where}.metricType is Utilization: take AverageValue, or remove it")
        else:
            out.append(_READERS[trigger.type](trigger, where, source))
    return tuple(out)


def _built_in(trigger: TriggerSpec, model: type[T], where: str, source: str) -> T:
    """Return a trigger whose metadata KEDA itself reads."""
    beside = {"name": trigger.name, "metricType": trigger.metric_type, "useCachedMetrics": trigger.use_cached_metrics}
    for key in beside.keys() & trigger.metadata.keys():
        raise SettingError(f"{source}: {where}.metadata.{key} belongs beside metadata: move it there")
    return _convert({**trigger.metadata, **beside}, model, source, f"{where}.metadata", strict=False)


def _metrics_api(trigger: TriggerSpec, where: str, source: str) -> MetricsApiTrigger:
    return _built_in(trigger, MetricsApiTrigger, where, source)


def _prometheus(trigger: TriggerSpec, where: str, source: str) -> PrometheusTrigger:
    return _built_in(trigger, PrometheusTrigger, where, source)


def _jetstream(trigger: TriggerSpec, where: str, source: str) -> JetStreamTrigger:
    out = _built_in(trigger, JetStreamTrigger, where, source)
    # A TriggerAuthentication may give these, and can't be seen from here.
    if not trigger.authentication_ref:
        for field, value in (
            ("account", out.account or out.account_id),
            ("natsServerMonitoringEndpoint", out.nats_server_monitoring_endpoint),
        ):
            if not value:
                raise SettingError(
                    f"{source}: {where}.metadata has no {field}: add it, or an authenticationRef that gives it"
                )
    return out


def _external(trigger: TriggerSpec, where: str, source: str) -> ExternalTrigger:
    for key in trigger.metadata:
        if key.endswith("FromEnv"):
            raise SettingError(
                f"{source}: {where}.metadata.{key} names a variable of a container, which can't be read here: "
                f"give the value, as {key.removesuffix('FromEnv')}"
            )
        if key in ("caCert", "tlsClientCert", "tlsClientKey", "tlsCertFile"):
            raise SettingError(
                f"{source}: {where}.metadata.{key} is not read there by KEDA: give it by an authenticationRef, "
                "as caCert, tlsClientCert or tlsClientKey"
            )
    own = {key: trigger.metadata[key] for key in ("scalerAddress", "enableTLS", "unsafeSsl") if key in trigger.metadata}
    out = _convert(own, ExternalTrigger, source, f"{where}.metadata", strict=False)
    return msgspec.structs.replace(
        out,
        name=trigger.name,
        metric_type=trigger.metric_type,
        use_cached_metrics=trigger.use_cached_metrics,
        push=trigger.type == EXTERNAL_PUSH,
        metadata={key: value for key, value in trigger.metadata.items() if key not in own},
    )


_READERS: dict[str, Callable[[TriggerSpec, str, str], Trigger]] = {
    JETSTREAM: _jetstream,
    METRICS_API: _metrics_api,
    PROMETHEUS: _prometheus,
    EXTERNAL: _external,
    EXTERNAL_PUSH: _external,
}


def _convert(data: Any, model: type[T], source: str, at: str = "", *, strict: bool = True) -> T:
    """Convert `data` to `model`. Raises SettingError with the path of the field from the document's root."""
    try:
        return msgspec.convert(data, model, strict=strict)
    except msgspec.ValidationError as e:
        problem, _, below = str(e).partition(" - at `$")
        where = (at + below.rstrip("`")).lstrip(".") or "the document"
        raise SettingError(f"{source}: {where}: {_remedy(problem)}") from e


def _remedy(problem: str) -> str:
    if unknown := re.fullmatch(r"Object contains unknown field (`.+`)", problem):
        return f"field {unknown[1]} is not one that this autoscaler honours: correct its spelling or remove it"
    if missing := re.fullmatch(r"Object missing required field (`.+`)", problem):
        return f"field {missing[1]} is missing: add it"
    if re.match(r"Expected `str`, got `(int|float|bool)`", problem):
        return f"{problem}: put the value in quotes, as Kubernetes asks here"
    return f"{problem}: change it"
