"""`tidegate dashboards`: what Prometheus and Grafana read on one machine."""

from __future__ import annotations

import configparser
import json
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from shared.contract import catalog
from shared.runtime.pages import monitoring
from shared.runtime.settings import BusSettings
from tests.support.kube.alert_rules import ALERTS, RULES
from tests.support.kube.dashboard_queries import NAMES, queries
from tests.support.kube.deploy_manifests import SHIPPED, of
from tests.support.paths import ROOT
from tests.support.servers import promql
from tidegate.commands.dashboards import dashboards

# Prometheus adds these two to every target.
ADDED = {"job", "instance"}


def write(folder: Path, *arguments: str) -> str:
    """Run the command; return its output."""
    done = CliRunner().invoke(dashboards, [str(folder), *arguments], catch_exceptions=False)
    assert done.exit_code == 0
    return done.output


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def test_prometheus_gets_the_processes_and_the_alerts(tmp_path: Path) -> None:
    write(tmp_path / "here", "--data", str(tmp_path / "data"))
    config = read(tmp_path / "here/prometheus.yml")
    (job,) = config["scrape_configs"]
    assert job["file_sd_configs"][0]["files"] == [f"{tmp_path}/data/metrics/*.json"] and job["honor_labels"]
    assert read(tmp_path / "here" / config["rule_files"][0]) == RULES
    # The alert for what does not answer selects by the job.
    (selector,) = [m for m in ALERTS["TidegatePodNotScraped"]["expr"].split('"') if "tidegate" in m]
    assert re.fullmatch(selector, job["job_name"])


def test_grafana_gets_every_dashboard_and_a_password_of_its_own(tmp_path: Path) -> None:
    output = write(tmp_path)
    grafana = tmp_path / "grafana"
    secret = (grafana / "password").read_text()
    assert len(secret) >= 32 and (grafana / "password").stat().st_mode & 0o777 == 0o600 and secret not in output
    ini = configparser.ConfigParser(interpolation=None)
    ini.read(grafana / "grafana.ini")
    assert ini["server"]["http_addr"] == "127.0.0.1" and ini["security"]["admin_user"] != "admin"
    assert ini["security"]["admin_password"] == f"$__file{{{grafana}/password}}"
    provisioning = Path(ini["paths"]["provisioning"])
    (provider,) = read(provisioning / "dashboards/tidegate.yml")["providers"]
    found = {path.stem for path in Path(provider["options"]["path"]).glob("*.json")}
    assert found == set(NAMES)
    (source,) = read(provisioning / "datasources/tidegate.yml")["datasources"]
    # What Prometheus' command listens on.
    prometheus, server = [shlex.split(line) for line in output.splitlines() if line.startswith("  ")]
    assert f"--web.listen-address={source['url'].removeprefix('http://')}" in prometheus
    assert f"--config={grafana}/grafana.ini" in server
    # A later run changes no password.
    write(tmp_path)
    assert (grafana / "password").read_text() == secret


@pytest.mark.foreign
def test_prometheus_accepts_both_configurations(tmp_path: Path) -> None:
    write(tmp_path / "up")
    write(tmp_path / "compose", "--containers")
    for folder in ("up", "compose"):
        check = [promql.promtool(), "check", "config", tmp_path / folder / "prometheus.yml"]
        done = subprocess.run(check, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0 and f"{len(ALERTS)} rules found" in done.stdout, done.stdout + done.stderr


def test_containers_are_found_by_the_names_of_compose(tmp_path: Path) -> None:
    write(tmp_path, "--containers")
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    jobs = read(tmp_path / "prometheus.yml")["scrape_configs"]
    hosts = {(name, each["port"]) for job in jobs for each in job["dns_sd_configs"] for name in each["names"]}
    services = {service.name for service in catalog.SERVICES} & set(compose)
    (port,) = [a.removeprefix("-port=") for a in compose["nats-exporter"]["command"] if a.startswith("-port=")]
    assert {(name, 9102) for name in services} | {("nats", int(port))} <= hosts
    exporter = next(c for c in of(SHIPPED, "StatefulSet")["nats"]["spec"]["template"]["spec"]["containers"][1:])
    assert compose["nats-exporter"]["command"] == exporter["args"]
    (source,) = read(tmp_path / "grafana/provisioning/datasources/tidegate.yml")["datasources"]
    assert source["url"] == "http://prometheus:9090"
    targets = {rule["target_label"] for job in jobs for rule in job["relabel_configs"]}
    assert target_labels() <= targets | ADDED


def target_labels() -> set[str]:
    """The labels of targets by which dashboards and alerts select or group what local processes export."""
    texts = [query for name in NAMES for query, _ in queries(name)] + [rule["expr"] for rule in ALERTS.values()]
    ours = [text for text in texts if any(name.startswith(("tidegate_", "up")) for name in promql.selected(text))]
    found = {label for text in ours for labels in promql.selected(text).values() for label in labels}
    return (found | {label for text in ours for label in promql.grouping_labels(text)}) & promql.OF_TARGETS


def test_local_targets_have_the_labels_that_dashboards_and_alerts_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REPLICA", "cv-0")
    monitoring.tell_prometheus(BusSettings(metrics_targets=str(tmp_path)), "cv", 9102)
    (entry,) = json.loads((tmp_path / "cv-0.json").read_text())
    labels = entry["labels"]
    assert {"namespace", "component", "pod"} <= target_labels() <= set(labels) | ADDED
    assert (labels["namespace"], labels["component"], labels["pod"]) == ("local", "cv", "cv-0")
