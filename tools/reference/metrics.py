"""Every metric: from the calls that register it with Prometheus' client."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from shared.runtime.pages.former_metrics import FORMER
from tools.reference.markdown import code, page, table

INTRO = """Every service serves `/metrics`, `/healthz` (its loop moves) and `/readyz` (it can work, or what is missing)
on `METRICS_HOST:METRICS_PORT`. [Operating](../how-to/operate.md#what-to-watch) says which of these to alert on."""

RENAMED = """Until the next release these are exported under both names, with equal values. The terms `due`,
`due_replicas`, `left_out` and `thrift` of `tidegate_demand` are exported as `expiring`, `expiry_replicas`,
`deferred_share` and `deferral_share` too."""

ROOT = Path(__file__).parent.parent.parent
FOLDERS = ("shared", "services", "tidegate")
CLASSES = {
    "Counter": "counter",
    "Gauge": "gauge",
    "Histogram": "histogram",
    "GaugeMetricFamily": "gauge",
    "CounterMetricFamily": "counter",
}


def text() -> str:
    """Return the page: a section for each folder that has metrics."""
    blocks = [INTRO]
    rows: dict[str, list[tuple[str, ...]]] = {}
    for where, row in _all():
        rows.setdefault(where, []).append(row)
    for where, found in rows.items():
        blocks += [f"## {where}", table(("metric", "kind", "labels", "means"), sorted(found))]
    renamed = sorted((code(former), code(name)) for former, name in FORMER.items())
    blocks += ["## Former names", RENAMED, table(("former name", "name"), renamed)]
    return page("Metrics", *blocks)


def exported() -> Iterator[tuple[str, str, list[str]]]:
    """Yield (name, kind, labels) of each metric."""
    for _, (name, kind, labels, _help) in _all():
        yield name.strip("`"), kind, [label.strip("`") for label in labels.split(", ") if label]


def _all() -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield (service, row) of each metric. They are read from the source, so no extra must be installed."""
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            part = path.relative_to(ROOT / folder).parts[0]
            shared = "every service" if part == "runtime" else "every worker"
            where = {"services": part, "shared": shared, "tidegate": "tidegate up"}[folder]
            for call in ast.walk(ast.parse(path.read_text())):
                if isinstance(call, ast.Call) and (row := _row(call)):
                    yield where, row


def _row(call: ast.Call) -> tuple[str, ...] | None:
    """Return the row of a call that creates a metric; None for any other call."""
    kind = CLASSES.get(getattr(call.func, "id", ""))
    texts = [a.value for a in call.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
    if not kind or len(texts) < 2 or not texts[0].startswith("tidegate_"):
        return None
    lists = [*call.args, *(k.value for k in call.keywords if k.arg in ("labels", "labelnames"))]
    labels = [e.value for a in lists if isinstance(a, ast.List) for e in a.elts if isinstance(e, ast.Constant)]
    help_text = texts[1].rstrip(".")
    return code(texts[0]), kind, ", ".join(code(str(label)) for label in labels), help_text[0].lower() + help_text[1:]
