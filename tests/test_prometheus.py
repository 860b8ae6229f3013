"""A real Prometheus scrapes real services, and the alerts of `deploy/observability` are evaluated on what it sees."""

from __future__ import annotations

import asyncio
import json
import shutil
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest
import pytest_asyncio
import yaml
from nats.aio.client import Client

from shared.contract import names
from shared.runtime import child
from shared.runtime.ports import free_port
from tests import promql
from tests.certificates import Authority
from tests.service_process import ServiceProcess
from tests.test_alerts import ALERTS, RULES
from tests.test_dashboards import NAMES, queries
from tests.test_webhook import say
from tests.waiting import patience_s, until
from tidegate.local.server import NatsServer

# All but embed, which is as cv, and vlm, which has no model here. The webhook serves its page by TLS.
PLAIN = ("ingest", "cv", "analytics", "search", "vlm-front", "scaler", "recorder")


class Prometheus:
    """With our alerts, which fire at once, and targets that are found as `tidegate up` has them found."""

    def __init__(self, folder: Path, *scrapes: dict[str, Any]) -> None:
        self._folder, self.url = folder, f"http://127.0.0.1:{free_port(0)}"
        rules = json.loads(json.dumps(RULES))
        for group in rules["groups"]:
            for rule in group["rules"]:
                rule.pop("for", None)
        (folder / "rules.yaml").write_text(yaml.safe_dump(rules))
        often = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        config = {"global": often, "rule_files": ["rules.yaml"], "scrape_configs": list(scrapes)}
        (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))

    async def __aenter__(self) -> Prometheus:
        command = ["prometheus", f"--config.file={self._folder}/prometheus.yaml"]
        command += [f"--storage.tsdb.path={self._folder}/tsdb", f"--web.listen-address={self.url[7:]}"]
        self._process = child.spawn(command, log=self._folder / "prometheus.log")
        return self

    async def __aexit__(self, kind: type[BaseException] | None, e: object, trace: TracebackType | None) -> None:
        self._process.terminate()
        await asyncio.to_thread(self._process.wait, patience_s())

    def asked(self, path: str, **arguments: str) -> Any:
        """What its API answers; nothing while it starts."""
        assert self._process.poll() is None, (self._folder / "prometheus.log").read_text()[-2000:]
        try:
            with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(arguments)}") as answer:
                return json.load(answer)["data"]
        except (urllib.error.URLError, ConnectionError):
            return {}

    def up(self) -> set[str]:
        found = self.asked("query", query="up == 1").get("result", [])
        return {each["metric"]["component"] for each in found}

    def firing(self) -> dict[str, dict[str, str]]:
        """The alerts that fire, with their labels."""
        return {a["labels"]["alertname"]: a["labels"] for a in self.asked("alerts").get("alerts", [])}

    def evaluated(self) -> list[dict[str, Any]]:
        return [rule for group in self.asked("rules").get("groups", []) for rule in group["rules"]]


def scrape(name: str, folder: Path, **more: Any) -> dict[str, Any]:
    """As the PodMonitors have it: the targets' own labels are kept, and a pod has its namespace and its component."""
    return {
        "job_name": f"tidegate/tidegate-{name}",
        "honor_labels": True,
        "file_sd_configs": [{"files": [f"{folder}/*.json"], "refresh_interval": "1s"}],
        "relabel_configs": [
            {"source_labels": ["replica"], "target_label": "component"},
            {"source_labels": ["replica"], "target_label": "pod"},
            {"target_label": "namespace", "replacement": "tidegate"},
        ],
    } | more


@pytest_asyncio.fixture
async def prometheus(server: NatsServer, tmp_path: Path) -> AsyncIterator[Prometheus]:
    if not shutil.which("prometheus"):
        pytest.skip("Prometheus is not installed: apt-get install prometheus")
    ca = Authority(tmp_path / "ca")
    page, own = ca.issue("tidegate-webhook"), ca.issue("tidegate-prometheus")
    plain, secured = tmp_path / "plain", tmp_path / "secured"
    tls = {"ca_file": ca.ca, "cert_file": own.cert, "key_file": own.key, "server_name": "tidegate-webhook"}
    running = []

    def start(service: str, targets: Path, **env: str) -> None:
        told = {"METRICS_TARGETS": str(targets), "REPLICA": service} | env
        running.append(ServiceProcess(service, server.environment(service), tmp_path, **told))

    told = {"SCALER_PORT": "0", "SCALER_HTTP_PORT": "0"}
    told |= {"SEARCH_INDEX": str(tmp_path / "index"), "RECORDER_STORE": str(tmp_path / "recordings")}
    for service in PLAIN:
        start(service, plain, **told)
    shown = {"METRICS_CERT": page.cert, "METRICS_KEY": page.key, "METRICS_CLIENT_CA": ca.ca}
    # Nobody listens there.
    start("webhook", secured, WEBHOOK_URL="http://127.0.0.1:9/", **shown)
    try:
        scrapes = (scrape("plain", plain), scrape("webhook", secured, scheme="https", tls_config=tls))
        async with Prometheus(tmp_path, *scrapes) as found:
            yield found
    finally:
        for one in running:
            one.process.kill()
            await asyncio.to_thread(one.process.wait, patience_s())


@pytest.mark.foreign
@pytest.mark.slow
async def test_alerts_fire_on_what_real_services_tell(prometheus: Prometheus, admin: Client) -> None:
    await until(lambda: prometheus.up() == {*PLAIN, "webhook"})
    js = admin.jetstream()
    await js.publish("events.alerts.lobby", b"no alert")
    # Nobody takes it.
    await say(admin, 1)
    await js.publish(names.media("lobby"), b"no segment")
    # All that runs is seen and answers. That cv idles and nobody asks the scaler would be told of if it lasted.
    told = {"TidegateDeadLetters", "TidegateAlertsNotDelivered", "TidegateEndpointAway"}
    told |= {"TidegateGpusIdle", "TidegateScalerNotAsked"}
    await until(lambda: set(prometheus.firing()) == told)
    firing = prometheus.firing()
    assert firing["TidegateDeadLetters"].items() >= {"namespace": "tidegate", "service": "cv"}.items()
    assert firing["TidegateEndpointAway"]["severity"] == "page"
    # Each alert can be evaluated on real pages: none meets two series where it wants one.
    evaluated = prometheus.evaluated()
    assert {rule["name"] for rule in evaluated} == set(ALERTS)
    assert [rule for rule in evaluated if rule["health"] != "ok"] == []
    # And so can each query of the dashboards.
    failed = [q for name in NAMES for q, _ in queries(name) if "result" not in prometheus.asked("query", query=q)]
    assert failed == []
    series = {name for name in prometheus.asked("label/__name__/values") if name.startswith("tidegate_")}
    assert series - set(promql.known()) == set() and len(series) > 50
