"""A real Prometheus scrapes real services, and the alerts of `deploy/observability` are evaluated on what it sees."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from nats.aio.client import Client

from shared.contract import names
from tests.support.kube.alert_rules import ALERTS
from tests.support.kube.dashboard_queries import NAMES, queries
from tests.support.processes.service_process import ServiceProcess
from tests.support.servers import promql
from tests.support.servers.certificates import Authority
from tests.support.servers.prometheus_server import Prometheus
from tests.support.waiting import patience_s, until
from tests.support.worlds.webhook_world import say
from tidegate.local.server import NatsServer

# All services except embed, which is like cv, and vlm, which has no model here. The webhook uses TLS.
PLAIN = ("ingest", "cv", "analytics", "search", "vlm-front", "scaler", "recorder", "pictures")


def scrape(name: str, folder: Path, **more: Any) -> dict[str, Any]:
    """The scrape job of the PodMonitors: it honours labels of targets; a pod has its namespace and its component."""
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
        fields = {"METRICS_TARGETS": str(targets), "REPLICA": service} | env
        running.append(ServiceProcess(service, server.environment(service), tmp_path, **fields))

    fields = {"SCALER_PORT": "0", "SCALER_HTTP_PORT": "0"}
    fields |= {"SEARCH_INDEX": str(tmp_path / "index"), "RECORDER_STORE": str(tmp_path / "recordings")}
    for service in PLAIN:
        start(service, plain, **fields)
    shown = {"METRICS_CERT": page.cert, "METRICS_KEY": page.key, "METRICS_CLIENT_CA": ca.ca}
    # No process listens on this port.
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
async def test_alerts_fire_on_metrics_of_real_services(prometheus: Prometheus, admin: Client) -> None:
    await until(lambda: prometheus.up() == {*PLAIN, "webhook"})
    js = admin.jetstream()
    await js.publish("events.alerts.lobby", b"no alert")
    # No worker takes the job.
    await say(admin, 1)
    await js.publish(names.media("lobby"), b"no segment")
    # All that runs is scraped and answers. An idle cv and a scaler without requests would raise alerts if they lasted.
    incidents = {"TidegateDeadLetters", "TidegateAlertsNotDelivered", "TidegateEndpointAway"}
    incidents |= {"TidegateGpusIdle", "TidegateScalerNotAsked"}
    await until(lambda: set(prometheus.firing()) == incidents)
    firing = prometheus.firing()
    assert firing["TidegateDeadLetters"].items() >= {"namespace": "tidegate", "service": "cv"}.items()
    assert firing["TidegateEndpointAway"]["severity"] == "page"
    # Each alert evaluates on real pages: none gets two series where it needs one.
    evaluated = prometheus.evaluated()
    assert {rule["name"] for rule in evaluated} == set(ALERTS)
    assert [rule for rule in evaluated if rule["health"] != "ok"] == []
    # Each query of the dashboards evaluates, too.
    failed = [q for name in NAMES for q, _ in queries(name) if "result" not in prometheus.query("query", query=q)]
    assert failed == []
    series = {name for name in prometheus.query("label/__name__/values") if name.startswith("tidegate_")}
    assert series - set(promql.metric_labels()) == set() and len(series) > 50
