"""Whether workers that look at fewer frames of what waits are scaled by what is wanted, not by what waits."""

from __future__ import annotations

from services.scaler.live import metadata
from services.scaler.live.metadata import DemandQuery
from shared.runtime.errors import SettingError
from tidegate.cluster.kubectl import Document
from tidegate.cluster.state import Cluster, template
from tidegate.view.findings import Finding

SETTING = "_LATENCY_TARGET"
HOW = "docs/explanation/elastic-quality.md"


def bends(cluster: Cluster) -> list[Finding]:
    """A line for each Deployment that has such a setting, and that a ScaledObject scales."""
    found = []
    for name, scaled in sorted(cluster.of("ScaledObject").items()):
        target = (scaled["spec"].get("scaleTargetRef") or {}).get("name")
        for variable, value in _settings(cluster.of("Deployment").get(str(target), {})):
            found.append(_judged(name, scaled, variable, value))
    return found


def _judged(name: str, scaled: Document, variable: str, value: float) -> Finding:
    what = f"quality of {name}"
    wanted = [query.settings.latency_target_s for query in _asked(scaled)]
    if not wanted:
        said = f"{variable} is {value:g}, and the pending count alone scales it: fewer frames keep that low"
        remedy = f"apply the overlay's form /demand, or remove {variable}: {HOW}"
        return Finding(what, "bad", said, remedy)
    if value not in wanted:
        said = f"{variable} is {value:g}, and its ScaledObject asks for latencyTarget={wanted[0]:g}"
        return Finding(what, "note", said, f"give both the same: {HOW}")
    return Finding(what, "ok", f"fewer frames are looked at where {value:g} s are in danger")


def _settings(deployment: Document) -> list[tuple[str, float]]:
    """(variable, seconds) of what is switched on in its service's container."""
    containers = (template(deployment).get("spec") or {}).get("containers") or [{}]
    given = [(v.get("name", ""), v.get("value") or "0") for v in containers[0].get("env") or []]
    return [(name, _seconds(value)) for name, value in given if name.endswith(SETTING) and _seconds(value)]


def _seconds(text: str) -> float:
    """What is no number is refused by the service itself."""
    try:
        return float(text)
    except ValueError:
        return 0.0


def _asked(scaled: Document) -> list[DemandQuery]:
    """What its triggers ask Tidegate's scaler."""
    found = []
    for trigger in scaled["spec"].get("triggers") or []:
        given = trigger.get("metadata") or {}
        try:
            if trigger.get("type") == "metrics-api":
                found.append(metadata.parse_url(given.get("url", "")))
            elif str(trigger.get("type")).startswith("external"):
                found.append(metadata.parse(given))
        except SettingError:
            continue
    return [query for query in found if isinstance(query, DemandQuery)]
