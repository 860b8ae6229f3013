"""The dashboards of `deploy/observability`: what the code writes, and queries of what exists, by the real promtool."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from services.scaler.demand.estimate import Estimate
from tests.support import npm
from tests.support.kube.alert_rules import ALERTS
from tests.support.kube.dashboard_queries import NAMES, queries
from tests.support.kube.deploy_manifests import build, of
from tests.support.servers import promql
from tools.dashboards.__main__ import FOLDER, PAGES
from tools.dashboards.grafana import encode
from tools.reference import metrics

GRAFANA = "13.2.3"
# `tidegate_replicas` shows the same.
LOCAL = {"tidegate_scale_events_total"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_dashboard_equals_the_generated_one(page: Any) -> None:
    written = FOLDER / f"{page.name}.json"
    assert written.read_text() == encode(page), "run `make reference`"
    assert written.stat().st_size < 200_000


def test_there_are_no_other_dashboards() -> None:
    assert {p.stem for p in FOLDER.iterdir()} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_dashboard_shows_existing_metrics(name: str) -> None:
    found = list(queries(name))
    assert found
    for query, legend in found:
        assert "$" not in query.replace('"$1"', ""), "a variable that nobody fills in"
        assert promql.strangers(query, legend) == [], query
        # Terms of demand are labels that the scaler makes of its sum.
        assert set(re.findall(r'term="(\w+)"', query)) <= set(Estimate.__struct_fields__)


@pytest.mark.foreign
def test_prometheus_parses_every_query(tmp_path: Path) -> None:
    promql.checked(tmp_path, [query for name in NAMES for query, _ in queries(name)])


@pytest.mark.foreign
def test_an_invalid_query_is_found(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="parse error"):
        promql.checked(tmp_path, ["sum by (camera) (rate(up[5m])"])


def test_every_metric_has_a_panel_or_an_alert() -> None:
    read = {name for page in NAMES for query, _ in queries(page) for name in promql.selected(query)}
    read |= {name for rule in ALERTS.values() for name in promql.selected(rule["expr"])}
    shown = {re.sub("_(bucket|sum|count)$", "", name) for name in read}
    assert {name for name, _, _ in metrics.exported()} - shown - LOCAL == set()


def test_panels_do_not_overlap() -> None:
    for name in NAMES:
        taken: set[tuple[int, int]] = set()
        for panel in json.loads((FOLDER / f"{name}.json").read_text())["panels"]:
            at = panel["gridPos"]
            cells = {
                (at.get("x", 0) + x, at.get("y", 0) + y) for x in range(at.get("w", 24)) for y in range(at.get("h", 1))
            }
            assert not cells & taken and max(x for x, _ in cells) < 24, panel["title"]
            taken |= cells


@pytest.mark.foreign
def test_grafana_s_sidecar_finds_all_of_them() -> None:
    maps = of(build(FOLDER.parent), "ConfigMap")
    assert {key for each in maps.values() for key in each["data"]} == {f"{name}.json" for name in NAMES}
    for each in maps.values():
        assert each["metadata"]["labels"]["grafana_dashboard"] == "1" and len(each["data"]) == 1
        # kubectl keeps what was applied in an annotation of 256 KiB at most.
        assert len(json.dumps(each)) < 256 * 1024


@pytest.mark.foreign
def test_grafana_s_types_have_every_field(tmp_path: Path, pytestconfig: pytest.Config) -> None:
    """TypeScript finds a field of Grafana that is misspelt or has another type."""
    if not shutil.which("node"):
        pytest.skip("node is not installed: apt-get install nodejs npm")
    package = npm.installed(pytestconfig, "@grafana/schema", GRAFANA, "typescript@5.9.3")
    modules = package.parents[1]
    shipped = {name: json.loads((FOLDER / f"{name}.json").read_text()) for name in NAMES}
    assert type_errors(modules, tmp_path, shipped) == ""
    right = json.loads((FOLDER / "cv.json").read_text())
    wrong = {"unknown": right | {"refreshes": "1m"}, "kind": right | {"schemaVersion": "forty"}}
    reply = type_errors(modules, tmp_path, wrong)
    assert "'\"refreshes\"' does not exist" in reply and "'string' is not assignable to type 'number'" in reply


def type_errors(modules: Path, folder: Path, dashboards: dict[str, Any]) -> str:
    """Return the type errors of TypeScript in the dashboards."""
    (folder / "node_modules").unlink(missing_ok=True)
    (folder / "node_modules").symlink_to(modules)
    lines = ['import type { Dashboard } from "@grafana/schema";']
    lines += [f"export const {name}: Dashboard = {json.dumps(content)};" for name, content in dashboards.items()]
    (folder / "dashboards.ts").write_text("\n".join(lines))
    strict = ["--noEmit", "--strict", "--skipLibCheck", "--module", "esnext", "--moduleResolution", "bundler"]
    done = subprocess.run(
        ["node", modules / "typescript/bin/tsc", *strict, "dashboards.ts"],
        capture_output=True,
        text=True,
        cwd=folder,
        timeout=300,
    )
    return done.stdout + done.stderr
