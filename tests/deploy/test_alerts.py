"""The alerts of `deploy/observability`, by the real promtool; and the paragraph of the runbook that each leads to."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.kube.alert_rules import ALERTS, RULES
from tests.support.paths import ROOT
from tests.support.servers import promql
from tidegate.chaos.faults import FAULTS

CASES = yaml.load((ROOT / "tests/deploy/alerts.yaml").read_text(), yaml.CSafeLoader)
RUNBOOK = (ROOT / "docs/how-to/runbook.md").read_text()


def moments(case: dict[str, Any]) -> list[str]:
    return case["at"] if isinstance(case["at"], list) else [case["at"]]


def expected(name: str, case: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what promtool has to find of the alert in a case: nothing in one without labels."""
    if "labels" not in case:
        return []
    annotations = ALERTS[name]["annotations"]
    shown = zip([case["labels"], *case.get("also", [])], [case["says"], *case.get("also_says", [])], strict=True)
    return [
        {
            "exp_labels": ALERTS[name]["labels"] | labels,
            "exp_annotations": annotations | {"description": says},
        }
        for labels, says in shown
    ]


def as_promtool_reads(name: str, kind: str) -> dict[str, Any]:
    case = CASES[name][kind]
    return {
        "name": f"{name} {kind}",
        "interval": CASES[name].get("every", "1m"),
        "input_series": [{"series": series, "values": values} for series, values in case["series"].items()],
        "alert_rule_test": [
            {"eval_time": at, "alertname": name, "exp_alerts": expected(name, case)} for at in moments(case)
        ],
    }


def tried(folder: Path, of: Iterable[tuple[str, dict[str, Any], list[dict[str, Any]]]]) -> dict[str, bool]:
    """Return by name whether promtool confirms the cases of each (name, rule, cases). A rule is alone in its file."""
    files = []
    for name, rule, cases in of:
        (folder / f"{name}.rules").write_text(yaml.safe_dump({"groups": [{"name": "tried", "rules": [rule]}]}))
        content = {"rule_files": [f"{name}.rules"], "evaluation_interval": "15s", "tests": cases}
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
        files.append(f"{name}.yaml")
    done = subprocess.run(
        [promql.promtool(), "test", "rules", *files],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=folder,
        timeout=300,
    )
    output = dict(re.findall(r"^Unit Testing:  (.+)\.yaml\n((?:.*\n)*?)(?=Unit|\Z)", done.stdout, re.MULTILINE))
    assert set(output) == {file.removesuffix(".yaml") for file in files}, done.stdout[-1000:]
    print(*(text for text in output.values() if "SUCCESS" not in text))
    return {name: "SUCCESS" in text for name, text in output.items()}


def both(name: str) -> list[dict[str, Any]]:
    return [as_promtool_reads(name, kind) for kind in ("fires", "silent")]


@pytest.mark.foreign
def test_each_alert_fires_with_its_reason_and_is_silent_in_near_cases(tmp_path: Path) -> None:
    assert set(CASES) == set(ALERTS)
    done = tried(tmp_path, ((name, rule, both(name)) for name, rule in ALERTS.items()))
    assert [name for name, case in done.items() if not case] == []


def changed(rule: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """(what is different, the rule) of rules that wait for less, or say something else."""
    if "for" in rule:
        yield "at once", {key: value for key, value in rule.items() if key != "for"}
    expr = rule["expr"]
    for found in re.finditer(r"(?:>=|<=|>|<|==) ([\d.]+)", expr):
        value = float(found[1])
        for other in (value / 2, value * 3) if value else (-1, 1e9):
            yield f"{found[0]} is {other}", rule | {"expr": f"{expr[: found.start(1)]}{other}{expr[found.end(1) :]}"}
    for matcher in sorted(set(re.findall(r'\w+(?:=~|!~|!=|=)"[^"]*"', expr))):
        label = re.split("[=!]", matcher)[0]
        yield f"any {label} for {matcher}", rule | {"expr": expr.replace(matcher, f'{label}=~".*"')}


@pytest.mark.foreign
def test_the_cases_of_an_alert_cover_each_part_of_it(tmp_path: Path) -> None:
    """The cases reject a rule that fires immediately, from another value on, or on other series."""
    built = {f"{name}-{i}": (name, *one) for name, rule in ALERTS.items() for i, one in enumerate(changed(rule))}
    done = tried(tmp_path, ((stem, rule, both(name)) for stem, (name, _, rule) in built.items()))
    assert len(built) > 100
    assert [f"{built[stem][0]}, {built[stem][1]}" for stem, case in done.items() if case] == []


@pytest.mark.parametrize("name", ALERTS)
def test_near_cases_have_the_metrics_that_the_alert_reads(name: str) -> None:
    """A case without any would be silent whatever the alert says."""
    read = set(promql.selected(ALERTS[name]["expr"]))
    for kind in ("fires", "silent"):
        given = {series.partition("{")[0] for series in CASES[name][kind]["series"]}
        assert given & read or name == "TidegateNotSeen"
        assert CASES[name][kind].get("why") or kind == "fires"


@pytest.mark.foreign
def test_the_rules_are_valid(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(RULES))
    check = [promql.promtool(), "check", "rules", "--lint=all", "--lint-fatal", tmp_path / "rules.yaml"]
    done = subprocess.run(check, capture_output=True, text=True, timeout=120)
    assert f"SUCCESS: {len(ALERTS)} rules found" in done.stdout and done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_reads_existing_metrics(name: str) -> None:
    rule = ALERTS[name]
    assert promql.strangers(rule["expr"], " ".join(rule["annotations"].values())) == []
    assert set(rule["labels"]) == {"severity"} and rule["labels"]["severity"] in ("page", "ticket")
    assert set(rule["annotations"]) == {"summary", "description", "runbook"}


def test_an_unknown_metric_is_found() -> None:
    assert promql.strangers("sum by (camera) (rate(tidegate_ingest_frames_total[5m] offset 1h)) > 3") == []
    assert promql.strangers("tidegate_ingest_frame_total > 3") == ["no metric tidegate_ingest_frame_total"]
    assert promql.strangers('up{camera="a"}') == ["up has no label camera"]
    assert promql.strangers("sum by (camera) (up)") == ["no metric in it has a label camera"]
    assert promql.strangers("up == 0", "{{ $labels.camera }} is away") == ["no metric in it has a label camera"]
    assert promql.strangers('label_replace(up, "x", "$1", "pod", "(.*)")', "{{x}} {{pod}}") == []


def paragraphs() -> dict[str, str]:
    """The paragraphs of the runbook by alert."""
    parts = re.split(r"^### (\w+)$", RUNBOOK, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_each_alert_has_a_paragraph_and_each_paragraph_an_alert() -> None:
    assert list(paragraphs()) == list(ALERTS)
    for name, rule in ALERTS.items():
        assert rule["annotations"]["runbook"] == f"docs/how-to/runbook.md#{name.lower()}"
        text = paragraphs()[name]
        for requests in ("**Means**", "**Costs**", "**Look**", "**Do**", "**Ends**"):
            assert text.count(requests) == 1, f"{name} does not say {requests}"
        assert "```" in text or "`" in text.partition("**Look**")[2].partition("**Do**")[0]


EXPORTERS = {
    "jetstream": "exporter",
    "gnatsd": "exporter",
    "keda": "KEDA's own metrics",
    "kube": "kube-state-metrics",
    "kubelet": "the kubelet's metrics",
}


@pytest.mark.parametrize("name", ALERTS)
def test_a_paragraph_names_the_source_of_its_metrics(name: str) -> None:
    """An alert on metrics without a scrape never fires."""
    read = {metric.partition("_")[0] for metric in promql.selected(ALERTS[name]["expr"])}
    others = {EXPORTERS[first] for first in read & set(EXPORTERS)}
    text = " ".join(paragraphs()[name].partition("**Ends**")[2].split()).partition("Needs ")[2]
    assert [other for other in others if other not in text] == [] and bool(text) == bool(others)


def test_each_chaos_fault_has_an_alert_or_heals() -> None:
    table = RUNBOOK.partition("## By fault")[2]
    rows = dict(re.findall(r"^\| ([^|]+?) \| ([^|]+?) \|$", table, re.MULTILINE))
    for fault in FAULTS:
        assert [row for row in rows if fault.name.startswith(row)], f"no row for: {fault.name}"
    named = {alert for reports in rows.values() for alert in re.findall(r"Tidegate\w+", reports)}
    assert named <= set(ALERTS)
