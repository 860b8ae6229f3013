"""A KEDA `ScaledObject` file into structs, checked as KEDA's webhook and the Kubernetes API server check it.

    scaled = load(Path("deploy/keda/cv.yaml"))
    scaled.spec.max_replica_count, scaled.triggers[0].lag_threshold

The file is the single source of a service's scaling settings, so nothing in it is skipped: an unknown field is an error
that names it. Rules: KEDA's `apis/keda/v1alpha1` and
`pkg/scalers/{nats_jetstream,metrics_api,prometheus,external}_scaler.go`, and the HPA's validation of `behavior`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
import yaml
from msgspec import Meta

from shared.contract.reading.handwritten import LOADER
from shared.runtime.errors import SettingError
from shared.runtime.telemetry import logger

# Pauses and the like.
ANNOTATIONS = "autoscaling.keda.sh/"

JETSTREAM = "nats-jetstream"
METRICS_API = "metrics-api"
PROMETHEUS = "prometheus"
EXTERNAL = "external"
EXTERNAL_PUSH = "external-push"
KNOWN = f"{JETSTREAM}, {METRICS_API}, {PROMETHEUS}, {EXTERNAL} or {EXTERNAL_PUSH}"

# A fallback's behavior: at least its replicas, and no fewer than run.
IF_HIGHER = "currentReplicasIfHigher"

AtLeast0 = Annotated[int, Meta(ge=0)]
AtLeast1 = Annotated[int, Meta(ge=1)]

# The maximum characters of a file.
MOST = 256 * 1024

# In a formula: a word, or marks other than `+`.
_TOKEN = re.compile(r"\w+|[^\w\s+]+")

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
    select_policy: Annotated[str, Meta(pattern="^Max$")] = "Max"
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
    behavior: Annotated[str, Meta(pattern=f"^(static|{IF_HIGHER})$")] = "static"


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
    metric_type: Annotated[str, Meta(pattern="^AverageValue$")] = "AverageValue"
    authentication_ref: AuthenticationRef | None = None


class Spec(_Model, frozen=True, kw_only=True):
    """`spec`, with KEDA's defaults. Intervals are seconds."""

    scale_target_ref: ScaleTarget
    triggers: Annotated[tuple[TriggerSpec, ...], Meta(min_length=1)]
    polling_interval: AtLeast1 = 30
    cooldown_period: AtLeast0 = 300
    min_replica_count: AtLeast0 = 0
    max_replica_count: AtLeast1 = 100
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
    """The common field of triggers, next to their metadata. name: of its metric in a formula."""

    name: str = ""


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

    auth_mode, unsafe_ssl, timeout: for KEDA's connection; ignored here.
    """

    url: Annotated[str, Meta(min_length=1)]
    value_location: Annotated[str, Meta(min_length=1)]
    target_value: Annotated[float, Meta(ge=0.001)]
    activation_target_value: Annotated[float, Meta(ge=0)] = 0.0
    auth_mode: str = ""
    unsafe_ssl: bool = False
    timeout: str = ""


class PrometheusTrigger(_Trigger, frozen=True, kw_only=True):
    """A `prometheus` trigger: the one number that `query` gives, from the server at `server_address`.

    ignore_null_values: an empty result, NaN or an infinity is 0. The fields after it are for KEDA's request; ignored
    here.
    """

    server_address: Annotated[str, Meta(min_length=1)]
    query: Annotated[str, Meta(min_length=1)]
    threshold: Annotated[float, Meta(ge=0.001)]
    activation_threshold: float = 0.0
    ignore_null_values: Annotated[str, Meta(pattern="^true$")] = "true"
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


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    """Who sets the maximum of replicas, and what raises it, in words."""

    by: str
    remedy: str


class ScaledObject(msgspec.Struct, frozen=True, kw_only=True):
    """A checked file. limit: of a maximum below the file's own."""

    name: str
    spec: Spec
    triggers: tuple[Trigger, ...]
    limit: Limit | None = None

    def with_maximum(self, replicas: int, limit: Limit | None = None) -> ScaledObject:
        """Return a copy with this maxReplicaCount, or its minReplicaCount if that is higher."""
        most = max(replicas, self.spec.min_replica_count)
        spec = msgspec.structs.replace(self.spec, max_replica_count=most)
        return msgspec.structs.replace(self, spec=spec, limit=limit)

    @property
    def limit_in_words(self) -> Limit:
        """Return who sets the maximum: by default the file."""
        by = f"maxReplicaCount of {self.name}"
        return self.limit or Limit(by=by, remedy=f"raise {by}, if the machine has room")


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
    return ScaledObject(name=document.metadata.name, spec=spec, triggers=triggers)


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
    if sorted(part.strip() for part in formula.split("+")) != sorted(names):
        foreign = next((token for token in _TOKEN.findall(formula) if token not in names), None)
        has = f"has {foreign!r}" if foreign else f"is {formula!r}"
        yield (
            f"spec.advanced.scalingModifiers.formula {has}, and nothing but the sum of all triggers is modelled: "
            f"write {' + '.join(names)}, or take the formula out"
        )


def _annotation_problems(annotations: dict[str, str]) -> Iterator[str]:
    for name in annotations:
        if name.startswith(ANNOTATIONS):
            yield f"metadata.annotations.{name} is not modelled: remove it"


def _triggers(spec: Spec, source: str) -> tuple[Trigger, ...]:
    return tuple(_trigger(trigger, f"spec.triggers[{i}]", source) for i, trigger in enumerate(spec.triggers))


def _trigger(trigger: TriggerSpec, where: str, source: str) -> Trigger:
    if trigger.type in (EXTERNAL, EXTERNAL_PUSH):
        return _external(trigger, where, source)
    if trigger.type not in _BUILT_IN:
        raise SettingError(f"{source}: {where}.type is {trigger.type!r}, which is not modelled: take {KNOWN}")
    if "name" in trigger.metadata:
        raise SettingError(f"{source}: {where}.metadata.name belongs next to metadata: move it there")
    fields = {**trigger.metadata, "name": trigger.name}
    out = _convert(fields, _BUILT_IN[trigger.type], source, f"{where}.metadata", strict=False)
    # A TriggerAuthentication may give these, and can't be seen from here.
    if isinstance(out, JetStreamTrigger) and not trigger.authentication_ref:
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
    own = {key: trigger.metadata[key] for key in ("scalerAddress", "enableTLS", "unsafeSsl") if key in trigger.metadata}
    out = _convert(own, ExternalTrigger, source, f"{where}.metadata", strict=False)
    return msgspec.structs.replace(
        out,
        name=trigger.name,
        push=trigger.type == EXTERNAL_PUSH,
        metadata={key: value for key, value in trigger.metadata.items() if key not in own},
    )


_BUILT_IN: dict[str, type[JetStreamTrigger | MetricsApiTrigger | PrometheusTrigger]] = {
    JETSTREAM: JetStreamTrigger,
    METRICS_API: MetricsApiTrigger,
    PROMETHEUS: PrometheusTrigger,
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
        return f"field {unknown[1]} is not modelled: correct its spelling or remove it"
    if missing := re.fullmatch(r"Object missing required field (`.+`)", problem):
        return f"field {missing[1]} is missing: add it"
    if choice := re.fullmatch(r"Expected `str` matching regex '\^\(?([\w|]+)\)?\$'", problem):
        return f"only {choice[1].replace('|', ' or ')} is modelled: take it, or remove the field"
    if re.match(r"Expected `str`, got `(int|float|bool)`", problem):
        return f"{problem}: put the value in quotes, as Kubernetes asks here"
    return f"{problem}: change it"
