"""Checks that workers that degrade under a backlog are scaled by demand, not by the backlog."""

from __future__ import annotations

from services.scaler.live import metadata
from services.scaler.live.metadata import DemandQuery
from shared.runtime.errors import SettingError
from tidegate.cluster.kubectl import Document
from tidegate.cluster.state import Cluster, template
from tidegate.view.findings import Finding

SETTINGS = ("_LATENCY_TARGET_S", "_LATENCY_TARGET")
HOW = "docs/explanation/elastic-quality.md"


def degradation(cluster: Cluster) -> list[Finding]:
    """Return a line for each Deployment with such a setting and a ScaledObject."""
    found = []
    for name, scaled in sorted(cluster.of("ScaledObject").items()):
        target = (scaled["spec"].get("scaleTargetRef") or {}).get("name")
        for variable, value in _settings(cluster.of("Deployment").get(str(target), {})):
            found.append(_judged(name, scaled, variable, value))
    return found


def _judged(name: str, scaled: Document, variable: str, value: float) -> Finding:
    what = f"quality of {name}"
    wanted = [query.settings.latency_target_s for query in _demand_queries(scaled)]
    if not wanted:
        text = f"{variable} is {value:g}, and the pending count alone scales it: fewer frames keep that low"
        remedy = f"apply the overlay's form /demand, or remove {variable}: {HOW}"
        return Finding(what, "bad", text, remedy)
    if value not in wanted:
        text = f"{variable} is {value:g}, and its ScaledObject asks for latencyTarget={wanted[0]:g}"
        return Finding(what, "note", text, f"give both the same: {HOW}")
    return Finding(what, "ok", f"fewer frames are looked at where {value:g} s are in danger")


def _settings(deployment: Document) -> list[tuple[str, float]]:
    """Return (variable, seconds) of the enabled settings of its service's container."""
    containers = (template(deployment).get("spec") or {}).get("containers") or [{}]
    values = [(v.get("name", ""), v.get("value") or "0") for v in containers[0].get("env") or []]
    return [(name, _seconds(value)) for name, value in values if name.endswith(SETTINGS) and _seconds(value)]


def _seconds(text: str) -> float:
    """Parse seconds; 0 for an invalid number, which the service itself refuses."""
    try:
        return float(text)
    except ValueError:
        return 0.0


def _demand_queries(scaled: Document) -> list[DemandQuery]:
    """Return the queries of its triggers to Tidegate's scaler."""
    found = []
    for trigger in scaled["spec"].get("triggers") or []:
        fields = trigger.get("metadata") or {}
        try:
            if trigger.get("type") == "metrics-api":
                found.append(metadata.parse_url(fields.get("url", "")))
            elif str(trigger.get("type")).startswith("external"):
                found.append(metadata.parse(fields))
        except SettingError:
            continue
    return [query for query in found if isinstance(query, DemandQuery)]
