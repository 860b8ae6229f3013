"""A KEDA `ScaledObject` file into structs, checked as KEDA's webhook and the Kubernetes API server check it.

    scaled = load(Path("deploy/keda/cv.yaml"))
    scaled.spec.max_replica_count, scaled.triggers[0].lag_threshold

The file is the single source of a service's scaling settings, so nothing in it is skipped: what is not modelled here
is an error that names it. Rules: KEDA's `apis/keda/v1alpha1` and the HPA's validation of `behavior`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
import yaml
from msgspec import Meta

from shared.errors import SettingError
from shared.telemetry import logger

PAUSED = "autoscaling.keda.sh/paused"
PAUSED_REPLICAS = "autoscaling.keda.sh/paused-replicas"

JETSTREAM = "nats-jetstream"
# Resource triggers measure containers, which one machine's processes are not.
IGNORED = ("cpu",)

AtLeast0 = Annotated[int, Meta(ge=0)]
AtLeast1 = Annotated[int, Meta(ge=1)]

T = TypeVar("T")

log = logger("scaler")


class _Model(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    pass


class Policy(_Model, frozen=True, kw_only=True):
    """At most `value` pods, or percent of the pods, in any `period_seconds`."""

    type: Annotated[str, Meta(pattern="^(Pods|Percent)$")]
    value: AtLeast1
    period_seconds: Annotated[int, Meta(ge=1, le=1800)]


class ScalingRules(_Model, frozen=True, kw_only=True):
    """One direction of the HPA's `behavior`; None is the HPA's default of that direction."""

    stabilization_window_seconds: Annotated[int, Meta(ge=0, le=3600)] | None = None
    select_policy: Annotated[str, Meta(pattern="^(Max|Min|Disabled)$")] | None = None
    policies: Annotated[tuple[Policy, ...], Meta(min_length=1)] | None = None
    tolerance: Annotated[float, Meta(ge=0)] | None = None


class Behavior(_Model, frozen=True, kw_only=True):
    scale_up: ScalingRules | None = None
    scale_down: ScalingRules | None = None


class HpaConfig(_Model, frozen=True, kw_only=True):
    behavior: Behavior | None = None


class Advanced(_Model, frozen=True, kw_only=True):
    horizontal_pod_autoscaler_config: HpaConfig | None = None


class Fallback(_Model, frozen=True, kw_only=True):
    """Replicas to run once a trigger has failed more than `failure_threshold` times in a row."""

    failure_threshold: AtLeast0
    replicas: AtLeast0
    behavior: Annotated[
        str, Meta(pattern="^(static|currentReplicas|currentReplicasIfHigher|currentReplicasIfLower)$")
    ] = "static"


class ScaleTarget(_Model, frozen=True, kw_only=True):
    name: Annotated[str, Meta(min_length=1)]
    api_version: str = "apps/v1"
    kind: str = "Deployment"


class AuthenticationRef(_Model, frozen=True, kw_only=True):
    name: str
    kind: Annotated[str, Meta(pattern="^(Cluster)?TriggerAuthentication$")] = "TriggerAuthentication"


class TriggerSpec(_Model, frozen=True, kw_only=True):
    """A trigger as it is in the file: its metadata are strings, whatever they mean."""

    type: str
    metadata: dict[str, str]
    metric_type: str | None = None
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
        """The HPA's `behavior`; None where the file sets none, which is not the same as an empty one."""
        hpa = self.advanced.horizontal_pod_autoscaler_config if self.advanced else None
        return hpa.behavior if hpa else None


class JetStreamTrigger(_Model, frozen=True, kw_only=True):
    """Metadata of a `nats-jetstream` trigger: scale by what waits for, and is held by, a consumer."""

    stream: Annotated[str, Meta(min_length=1)]
    consumer: Annotated[str, Meta(min_length=1)]
    account: str = ""
    nats_server_monitoring_endpoint: str = ""
    use_https: bool = False
    lag_threshold: AtLeast1 = 10
    activation_lag_threshold: AtLeast0 = 0


class ScaledObject(msgspec.Struct, frozen=True, kw_only=True):
    """A checked file. paused: hold what runs, or hold `paused_replicas` where it is set."""

    name: str
    spec: Spec
    triggers: tuple[JetStreamTrigger, ...]
    paused: bool = False
    paused_replicas: int | None = None


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
    """The ScaledObject in a file. Raises SettingError naming the file, the field and what it should be."""
    try:
        return parse(path.read_text(), str(path))
    except OSError as e:
        raise SettingError(f"{path} can't be read: {e.strerror}; give the path of a ScaledObject") from e


def parse(text: str, source: str = "ScaledObject") -> ScaledObject:
    """The one ScaledObject among the documents of `text`. Raises SettingError that starts with `source`."""
    document = _convert(_only_document(text, source), _Document, source)
    problem = next(_problems(document.spec), None)
    if problem:
        raise SettingError(f"{source}: {problem}")
    annotations = document.metadata.annotations
    return ScaledObject(
        name=document.metadata.name,
        spec=document.spec,
        triggers=_triggers(document.spec, source),
        paused=_is_true(annotations.get(PAUSED, "false")) or PAUSED_REPLICAS in annotations,
        paused_replicas=_paused_replicas(annotations, source),
    )


def _only_document(text: str, source: str) -> Any:
    try:
        documents = [d for d in yaml.safe_load_all(text) if isinstance(d, dict)]
    except yaml.YAMLError as e:
        raise SettingError(f"{source} is not YAML: {e}") from e
    found = [d for d in documents if d.get("kind") == "ScaledObject"]
    if len(found) != 1:
        raise SettingError(f"{source} holds {len(found)} documents of kind ScaledObject: it needs exactly one")
    return found[0]


def _problems(spec: Spec) -> Iterator[str]:
    """What a schema can't say: bounds between fields, and combinations that KEDA refuses or can't hold."""
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
    if all(t.type in IGNORED for t in spec.triggers):
        yield f"spec.triggers has none that can be read here: add one of type {JETSTREAM}"


def _triggers(spec: Spec, source: str) -> tuple[JetStreamTrigger, ...]:
    out = []
    for i, trigger in enumerate(spec.triggers):
        where = f"spec.triggers[{i}]"
        if trigger.type == JETSTREAM:
            out.append(_jetstream(trigger, where, source))
        elif trigger.type in IGNORED:
            log.warning("trigger ignored", file=source, trigger=where, type=trigger.type)
        else:
            raise SettingError(
                f"{source}: {where}.type is {trigger.type!r}, which is not known here: take {JETSTREAM} or remove it"
            )
    return tuple(out)


def _jetstream(trigger: TriggerSpec, where: str, source: str) -> JetStreamTrigger:
    if trigger.metric_type not in (None, "AverageValue"):
        raise SettingError(f"{source}: {where}.metricType is {trigger.metric_type!r}: take AverageValue, or remove it")
    metadata = _convert(trigger.metadata, JetStreamTrigger, source, f"{where}.metadata", strict=False)
    # A TriggerAuthentication can give these two, out of our sight.
    if not trigger.authentication_ref:
        for field, value in (
            ("account", metadata.account),
            ("natsServerMonitoringEndpoint", metadata.nats_server_monitoring_endpoint),
        ):
            if not value:
                raise SettingError(
                    f"{source}: {where}.metadata has no {field}: add it, or an authenticationRef that gives it"
                )
    return metadata


def _is_true(value: str) -> bool:
    """As KEDA reads it: what is not a boolean counts as true."""
    return value not in ("0", "f", "F", "false", "FALSE", "False")


def _paused_replicas(annotations: dict[str, str], source: str) -> int | None:
    value = annotations.get(PAUSED_REPLICAS)
    if value is None:
        return None
    if not value.isdecimal():
        raise SettingError(f'{source}: metadata.annotations.{PAUSED_REPLICAS} is {value!r}: give a count, such as "0"')
    return int(value)


def _convert(data: Any, model: type[T], source: str, at: str = "", *, strict: bool = True) -> T:
    """`data` as `model`. Raises SettingError with the path of the field from the document's root."""
    try:
        return msgspec.convert(data, model, strict=strict)
    except msgspec.ValidationError as e:
        problem, _, below = str(e).partition(" - at `$")
        where = (at + below.rstrip("`")).lstrip(".") or "the document"
        raise SettingError(f"{source}: {where}: {_remedy(problem, where)}") from e


def _remedy(problem: str, where: str) -> str:
    if unknown := re.fullmatch(r"Object contains unknown field (`.+`)", problem):
        return f"field {unknown[1]} is not one that this autoscaler honours: correct its spelling or remove it"
    if missing := re.fullmatch(r"Object missing required field (`.+`)", problem):
        return f"field {missing[1]} is missing: add it"
    if "[...]" in where and problem.startswith("Expected `str`"):
        return f"{problem}: put the value in quotes, as Kubernetes asks here"
    return f"{problem}: change it"
