"""The ScaledObjects that are tried: files as KEDA takes them, made of those that Tidegate ships. Pure but for `bases`.

tried = candidates(bases("cv"), load, budgets=(0.0, 0.02))
tried[0].name, tried[0].text             # what `kubectl apply` takes, and what is simulated
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import msgspec
import yaml

from shared.contract import catalog
from shared.runtime.errors import SettingError
from tidegate.keda.threshold import lag_threshold
from tidegate.local.configuration import shipped
from tidegate.simulation.compare import peak
from tidegate.simulation.engine import Workload
from tidegate.simulation.trace import Trace

Document = dict[str, Any]

STATIC, KEDA_DEFAULT, LAG, DEMAND = "static peak", "KEDA default", "lag", "demand"
BENDS = f"{DEMAND}, bends"
# What a fleet for the peak is compared with.
KINDS = (KEDA_DEFAULT, LAG, DEMAND, BENDS)
# What the rule by lag is tuned over: shares of what a replica clears in the latency target, and for how many seconds a
# scale-down waits. The rest is as it is shipped.
LAG_SHARES = (0.1, 0.25, 0.5, 0.75, 1.0)
LAG_WINDOWS_S = (60, 300, 900)
KEDA_DEFAULT_LAG = 10
# What runs at present, where somebody says what that is.
NOW = "now"


class Bases(msgspec.Struct, frozen=True, kw_only=True):
    """The shipped documents of a service: by lag, and by demand. name: of the service.

    put_off: the trigger that is added where its work bends; None where it does not as the simulator has it. Of vlm
    captions alone do, by other levels, and are not made good.
    """

    name: str
    lag: Document
    demand: Document
    put_off: Document | None

    @property
    def settings(self) -> dict[str, str]:
        """What the one by demand asks for, as it is shipped."""
        return dict(parse_qsl(urlsplit(_url(self.demand)).query))


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """name: of its row. settings: what was chosen, in words. text: the file. degradable: whether its workers look at
    fewer frames while capacity is short.
    """

    name: str
    settings: str
    text: str
    degradable: bool = False

    @property
    def kind(self) -> str:
        """One of KINDS, or its name."""
        return BENDS if self.name.startswith(BENDS) else self.name


def bases(service: str) -> Bases:
    """Raises SettingError for a service that has no such files of ours."""
    record = catalog.find(service)
    if record not in catalog.SERVICES or not record.scaled_object.startswith("demand/"):
        fit = ", ".join(s.name for s in catalog.SERVICES if s.scaled_object.startswith("demand/"))
        raise SettingError(f"{service} has no ScaledObjects of ours to try: take one of {fit}")
    lag, demand = (yaml.safe_load(shipped(f).read_text()) for f in (f"{service}.yaml", record.scaled_object))
    return Bases(name=service, lag=lag, demand=demand, put_off=_put_off(demand["metadata"]["name"]))


def _put_off(name: str) -> Document | None:
    """The trigger that the component `elastic` adds to a ScaledObject."""
    component = yaml.safe_load(shipped("demand/elastic/kustomization.yaml").read_text())
    target = {"kind": "ScaledObject", "name": name}
    patches = (yaml.safe_load(p["patch"]) for p in component["patches"] if p["target"] == target)
    return next((patch[0]["value"] for patch in patches), None)


def candidates(of: Bases, trace: Trace, load: Workload, budgets: Sequence[float]) -> list[Candidate]:
    """All that are tried but for the rule by lag, of which `lags` has many. budgets: of deferBudget."""
    n = peak(trace, load)
    found = [
        _candidate(STATIC, f"{n} replicas at all times", _lag(of, load, least=n, most=n)),
        _candidate(KEDA_DEFAULT, f"lagThreshold {KEDA_DEFAULT_LAG}, all else left out", _default(of, load)),
        _candidate(DEMAND, "every frame at first", _demand(of, load, budget=0.0)),
    ]
    if of.put_off:
        found += [
            _candidate(f"{BENDS} {b:g}", f"deferBudget {b:g}", _demand(of, load, budget=b, bends=True), bends=True)
            for b in budgets
        ]
    return found


def lags(of: Bases, load: Workload) -> list[Candidate]:
    """The rule by lag, in all settings that it is tuned over."""
    clears = load.service_rate * load.latency_target_s
    thresholds = sorted({max(1, round(share * clears)) for share in LAG_SHARES})
    return [
        _candidate(
            LAG,
            f"lagThreshold {threshold}, scale-down window {window} s",
            _lag(of, load, least=load.min_replicas, most=load.max_replicas, threshold=threshold, window_s=window),
        )
        for threshold, window in itertools.product(thresholds, LAG_WINDOWS_S)
    ]


def in_force(of: Bases, load: Workload, asked: Mapping[str, str], *, bends: bool) -> Candidate:
    """What runs now by demand, within the bounds of `load`. asked: what its trigger asks for, as its URL has it."""
    bends = bends and of.put_off is not None
    document = _demand(of, load, budget=0.0, bends=bends)
    _ask(document, asked)
    return _candidate(NOW, ", ".join(f"{key} {value}" for key, value in asked.items()), document, bends=bends)


def _candidate(name: str, settings: str, document: Document, *, bends: bool = False) -> Candidate:
    return Candidate(name=name, settings=settings, text=yaml.safe_dump(document, sort_keys=False), degradable=bends)


def _lag(
    of: Bases, load: Workload, *, least: int, most: int, threshold: int | None = None, window_s: int | None = None
) -> Document:
    threshold = threshold or lag_threshold(load.service_rate, load.latency_target_s).value
    document = _bounded(of.lag, load, least, most)
    spec = document["spec"]
    if window_s is not None:
        spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]["scaleDown"]["stabilizationWindowSeconds"] = (
            window_s
        )
    _set_lag(spec, threshold)
    if spec.get("fallback"):
        spec["fallback"]["replicas"] = max(1, least)
    return document


def _default(of: Bases, load: Workload) -> Document:
    """What KEDA does with a trigger and nothing else."""
    document = _bounded(of.lag, load, load.min_replicas, load.max_replicas)
    spec = document["spec"]
    for field in ("pollingInterval", "cooldownPeriod", "fallback"):
        spec.pop(field, None)
    spec["advanced"].pop("horizontalPodAutoscalerConfig")
    if not spec["advanced"]:
        del spec["advanced"]
    _set_lag(spec, KEDA_DEFAULT_LAG)
    return document


def _demand(of: Bases, load: Workload, *, budget: float, bends: bool = False) -> Document:
    document = _bounded(of.demand, load, load.min_replicas, load.max_replicas)
    document["metadata"]["annotations"]["tidegate.dev/cold-start-seconds"] = f"{load.cold_start_s:g}"
    threshold = lag_threshold(load.service_rate, load.latency_target_s, cold_start_s=load.cold_start_s)
    asked = {
        "latencyTarget": f"{load.latency_target_s:g}",
        "coldStart": f"{load.cold_start_s:g}",
        "lagThreshold": str(threshold.value),
        "deferBudget": f"{budget:g}",
    }
    _ask(document, asked)
    _set_lag(document["spec"], threshold.fallback)
    if bends and of.put_off:
        net = copy.deepcopy(of.put_off)
        net["metadata"]["lagThreshold"] = str(threshold.deferred)
        document["spec"]["triggers"].append(net)
    return document


def _ask(document: Document, asked: Mapping[str, str]) -> None:
    """Have its trigger ask for these settings too, or in place of those that it asks for."""
    parts = urlsplit(_url(document))
    query = urlencode({**dict(parse_qsl(parts.query)), **asked})
    document["spec"]["triggers"][0]["metadata"]["url"] = parts._replace(query=query).geturl()


def _bounded(base: Document, load: Workload, least: int, most: int) -> Document:
    document = copy.deepcopy(base)
    document["metadata"]["annotations"] |= {
        "tidegate.dev/segments-per-second": f"{load.service_rate:.3g}",
        "tidegate.dev/latency-target-seconds": f"{load.latency_target_s:g}",
    }
    document["spec"] |= {"minReplicaCount": least, "maxReplicaCount": most}
    return document


def _set_lag(spec: Document, threshold: int) -> None:
    for trigger in spec["triggers"]:
        if trigger["type"] == "nats-jetstream":
            trigger["metadata"]["lagThreshold"] = str(threshold)
    # Several triggers that are added up have one target.
    if modifiers := (spec.get("advanced") or {}).get("scalingModifiers"):
        modifiers["target"] = str(threshold)


def _url(document: Document) -> str:
    return str(document["spec"]["triggers"][0]["metadata"]["url"])
