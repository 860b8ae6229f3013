"""Candidate ScaledObjects: valid KEDA manifests, derived from the shipped ones. Pure, except for `bases`.

Example:
    found = families(bases("cv"), trace, load, budgets=(0.0, 0.02))
    found[0].at(3).text                      # the manifest for `kubectl apply` and for the simulation
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlencode, urlsplit

import msgspec
import yaml

from shared.contract import catalog
from shared.contract.questions.whatif import InForce
from shared.runtime.errors import SettingError
from tidegate.keda.threshold import lag_threshold
from tidegate.local.scaling.scaled_objects import shipped
from tidegate.simulation.compare import peak
from tidegate.simulation.engine import Workload
from tidegate.simulation.trace import Trace

Document = dict[str, Any]

STATIC, KEDA_DEFAULT, LAG, DEMAND = "static peak", "KEDA default", "lag", "demand"
DEGRADABLE = f"{DEMAND}, bends"
STATIC_DEGRADABLE = "static, bends"
# Policies to compare with a static fleet for the peak.
KINDS = (KEDA_DEFAULT, LAG, DEMAND, DEGRADABLE)
# Search space of the lag policy: lagThreshold as a share of the messages that a replica clears within the latency
# target, and the scale-down window. Everything else is as shipped.
LAG_SHARES = (0.1, 0.25, 0.5, 0.75, 1.0)
LAG_WINDOWS_S = (60, 300, 900)
KEDA_DEFAULT_LAG = 10
# The present scaling, if the request has it.
IN_FORCE = "now"


class Bases(msgspec.Struct, frozen=True, kw_only=True):
    """The shipped ScaledObjects of a service: by lag, and by demand. name: of the service.

    put_off: the trigger for deferred frames. None if the simulator does not model the degradation of this service: vlm
    degrades only captions, on other levels, and never backfills them.
    """

    name: str
    lag: Document
    demand: Document
    put_off: Document | None

    @property
    def settings(self) -> dict[str, str]:
        """The query parameters of the shipped demand trigger."""
        return dict(parse_qsl(urlsplit(_url(self.demand)).query))


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """name: of its row. settings: the chosen settings, in words. text: the manifest. degradable: whether its workers
    defer frames while capacity is short.
    """

    name: str
    settings: str
    text: str
    degradable: bool = False

    @property
    def label(self) -> str:
        """Its name on screen; `name` is its key in JSON."""
        return self.name.replace(DEGRADABLE, f"{DEMAND}, degrades").replace(STATIC_DEGRADABLE, "static, degrades")


class Family(NamedTuple):
    """Candidates of one policy, at each number of replicas from `least` to `most`. at: the candidate. first: the number
    to try first. is_minimum: whether the number is a minimum, and not the whole fleet.
    """

    name: str
    at: Callable[[int], Candidate]
    least: int
    most: int
    first: int = 0
    is_minimum: bool = False


def bases(service: str) -> Bases:
    """Return the shipped ScaledObjects of a service. Raise SettingError if there are none."""
    record = catalog.find(service)
    if record not in catalog.SERVICES or not record.scaled_object.startswith("demand/"):
        fit = ", ".join(s.name for s in catalog.SERVICES if s.scaled_object.startswith("demand/"))
        raise SettingError(f"{service} has no ScaledObjects of ours to try: take one of {fit}")
    lag, demand = (yaml.safe_load(shipped(f).read_text()) for f in (f"{service}.yaml", record.scaled_object))
    return Bases(name=service, lag=lag, demand=demand, put_off=_deferral_trigger(demand["metadata"]["name"]))


def _deferral_trigger(name: str) -> Document | None:
    """Return the trigger that the component `elastic` adds to a ScaledObject."""
    component = yaml.safe_load(shipped("demand/elastic/kustomization.yaml").read_text())
    target = {"kind": "ScaledObject", "name": name}
    patches = (yaml.safe_load(p["patch"]) for p in component["patches"] if p["target"] == target)
    return next((patch[0]["value"] for patch in patches), None)


def families(
    base: Bases, trace: Trace, load: Workload, budgets: Sequence[float], kinds: Collection[str] = KINDS
) -> list[Family]:
    """Return the static fleets and these kinds of policies, except the lag policy, which `lags` returns. budgets:
    values of lossBudget; the largest is the degradable static fleet's.
    """
    least, most, n = max(1, load.min_replicas), load.max_replicas, peak(trace, load)
    result = [Family(STATIC, partial(_static, base, load), least, most, first=n)]
    is_degradable = base.put_off is not None and DEGRADABLE in kinds and len(budgets) > 0
    if is_degradable:
        at = partial(_degradable_static, base, load, max(budgets))
        result.append(Family(STATIC_DEGRADABLE, at, least, most, first=(least + n) // 2))
    if KEDA_DEFAULT in kinds:
        result.append(single(_keda_default(base, load)))
    if DEMAND in kinds:
        result.append(demand(base, load))
    return result + [demand(base, load, budget) for budget in budgets if is_degradable]


def single(candidate: Candidate) -> Family:
    """Return a family of one candidate."""
    return Family(candidate.name, lambda _: candidate, 0, 0)


def demand(base: Bases, load: Workload, budget: float | None = None) -> Family:
    """Return the demand policy at each minimum of replicas. budget: its lossBudget; None: nothing degrades."""
    name = DEMAND if budget is None else f"{DEGRADABLE} {budget:g}"
    at = partial(_demand_candidate, name, base, load, budget)
    return Family(name, at, load.min_replicas, load.max_replicas, first=load.min_replicas, is_minimum=True)


def _demand_candidate(name: str, base: Bases, load: Workload, budget: float | None, replicas: int) -> Candidate:
    settings = "every frame at first" if budget is None else f"lossBudget {budget:g}"
    at_least = f", {replicas} replicas at least" if replicas > load.min_replicas else ""
    bounds = msgspec.structs.replace(load, min_replicas=replicas)
    document = _demand(base, bounds, budget=budget)
    return _candidate(name, settings + at_least, document, degradable=budget is not None)


def _static(base: Bases, load: Workload, replicas: int) -> Candidate:
    document = _lag(base, load, min_replicas=replicas, max_replicas=replicas)
    return _candidate(STATIC, f"{replicas} replicas at all times", document)


def _degradable_static(base: Bases, load: Workload, budget: float, replicas: int) -> Candidate:
    """Return a static fleet whose workers defer frames: its demand trigger has these replicas as both bounds."""
    bounds = msgspec.structs.replace(load, min_replicas=replicas, max_replicas=replicas)
    document = _demand(base, bounds, budget=budget)
    return _candidate(STATIC_DEGRADABLE, f"{replicas} replicas at all times", document, degradable=True)


def _keda_default(base: Bases, load: Workload) -> Candidate:
    settings = f"lagThreshold {KEDA_DEFAULT_LAG}, all other fields unset"
    return _candidate(KEDA_DEFAULT, settings, _default(base, load))


def lags(base: Bases, load: Workload) -> list[Candidate]:
    """Return the lag policy with all settings of its search space."""
    cleared = load.service_rate * load.latency_target_s
    thresholds = sorted({max(1, round(share * cleared)) for share in LAG_SHARES})
    return [
        _candidate(
            LAG,
            f"lagThreshold {threshold}, scale-down window {window} s",
            _lag(
                base,
                load,
                min_replicas=load.min_replicas,
                max_replicas=load.max_replicas,
                threshold=threshold,
                window_s=window,
            ),
        )
        for threshold, window in itertools.product(thresholds, LAG_WINDOWS_S)
    ]


def by_lag(base: Bases, load: Workload, threshold: int) -> str:
    """Return the manifest that scales by this lagThreshold, within the bounds of `load`."""
    document = _lag(base, load, min_replicas=load.min_replicas, max_replicas=load.max_replicas, threshold=threshold)
    return _candidate(LAG, f"lagThreshold {threshold}", document).text


def present_candidate(base: Bases, load: Workload, settings: Mapping[str, str], *, degradable: bool) -> Candidate:
    """Return the present demand policy, within the bounds of `load`. settings: query parameters of its trigger."""
    degradable = degradable and base.put_off is not None
    document = _demand(base, load, budget=0.0 if degradable else None)
    _set_query(document, settings)
    return _candidate(
        IN_FORCE, ", ".join(f"{key} {value}" for key, value in settings.items()), document, degradable=degradable
    )


# The query parameters of a trigger's URL, by the fields of `InForce`.
_KEYS = {
    "latency_target_s": "latencyTarget",
    "cold_start_s": "coldStart",
    "headroom": "headroom",
    "lag_threshold": "lagThreshold",
    "loss_budget": "lossBudget",
    "defer_limit": "deferLimit",
}


def candidate_in_force(base: Bases, load: Workload, force: InForce) -> Candidate:
    """Return the settings of the scaler's present query."""
    return present_candidate(
        base, load, {key: f"{getattr(force, name):g}" for name, key in _KEYS.items()}, degradable=force.degradable
    )


def _candidate(name: str, settings: str, document: Document, *, degradable: bool = False) -> Candidate:
    return Candidate(
        name=name, settings=settings, text=yaml.safe_dump(document, sort_keys=False), degradable=degradable
    )


def _lag(
    base: Bases,
    load: Workload,
    *,
    min_replicas: int,
    max_replicas: int,
    threshold: int | None = None,
    window_s: int | None = None,
) -> Document:
    threshold = threshold or lag_threshold(load.service_rate, load.latency_target_s).value
    document = _bounded(base.lag, load, min_replicas, max_replicas)
    spec = document["spec"]
    if window_s is not None:
        spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]["scaleDown"]["stabilizationWindowSeconds"] = (
            window_s
        )
    _set_lag(spec, threshold)
    if spec.get("fallback"):
        spec["fallback"]["replicas"] = max(1, min_replicas)
    return document


def _default(base: Bases, load: Workload) -> Document:
    """Return a ScaledObject with a trigger and KEDA's defaults."""
    document = _bounded(base.lag, load, load.min_replicas, load.max_replicas)
    spec = document["spec"]
    for field in ("pollingInterval", "cooldownPeriod", "fallback"):
        spec.pop(field, None)
    spec["advanced"].pop("horizontalPodAutoscalerConfig")
    if not spec["advanced"]:
        del spec["advanced"]
    _set_lag(spec, KEDA_DEFAULT_LAG)
    return document


def _demand(base: Bases, load: Workload, *, budget: float | None = None) -> Document:
    """Return the demand policy. budget: of frames that are never analysed; None if none are deferred."""
    document = _bounded(base.demand, load, load.min_replicas, load.max_replicas)
    document["metadata"]["annotations"]["tidegate.dev/cold-start-seconds"] = f"{load.cold_start_s:g}"
    threshold = lag_threshold(load.service_rate, load.latency_target_s, cold_start_s=load.cold_start_s)
    settings = {
        "latencyTarget": f"{load.latency_target_s:g}",
        "coldStart": f"{load.cold_start_s:g}",
        "lagThreshold": str(threshold.value),
        **({"deferLimit": "0"} if budget is None else {"lossBudget": f"{budget:g}"}),
    }
    _set_query(document, settings)
    _set_lag(document["spec"], threshold.fallback)
    if budget is not None and base.put_off:
        fallback = copy.deepcopy(base.put_off)
        fallback["metadata"]["lagThreshold"] = str(threshold.deferred)
        document["spec"]["triggers"].append(fallback)
    return document


def _set_query(document: Document, settings: Mapping[str, str]) -> None:
    """Add these query parameters to the trigger, or replace them."""
    parts = urlsplit(_url(document))
    query = urlencode({**dict(parse_qsl(parts.query)), **settings})
    document["spec"]["triggers"][0]["metadata"]["url"] = parts._replace(query=query).geturl()


def _bounded(base: Document, load: Workload, min_replicas: int, max_replicas: int) -> Document:
    document = copy.deepcopy(base)
    document["metadata"]["annotations"] |= {
        "tidegate.dev/segments-per-second": f"{load.service_rate:.3g}",
        "tidegate.dev/latency-target-seconds": f"{load.latency_target_s:g}",
    }
    document["spec"] |= {"minReplicaCount": min_replicas, "maxReplicaCount": max_replicas}
    return document


def _set_lag(spec: Document, threshold: int) -> None:
    for trigger in spec["triggers"]:
        if trigger["type"] == "nats-jetstream":
            trigger["metadata"]["lagThreshold"] = str(threshold)
    # A formula over several triggers has one target.
    if modifiers := (spec.get("advanced") or {}).get("scalingModifiers"):
        modifiers["target"] = str(threshold)


def _url(document: Document) -> str:
    return str(document["spec"]["triggers"][0]["metadata"]["url"])
