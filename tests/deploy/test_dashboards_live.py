"""Every query of the dashboards and every alert, on a real Prometheus that scrapes a live `tidegate up`."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from shared.runtime import child
from tests.support.kube.alert_rules import ALERTS
from tests.support.kube.dashboard_queries import FILLED, NAMES, queries
from tests.support.servers import promql
from tests.support.servers.openai_server import OpenAiServer, text
from tests.support.servers.prometheus_server import Prometheus
from tests.support.waiting import patience_s, until
from tidegate.demo import footage
from tidegate.demo.bank import Bank
from tidegate.local import dashboards

pytestmark = [pytest.mark.foreign, pytest.mark.slow, pytest.mark.long]

# What one machine does not have, by the begin of the metrics' names.
ABSENT = {
    "kube_": "kube-state-metrics of a cluster; GPUs are counted by them, too",
    "kubelet_": "the kubelet, of volumes",
    "keda_": "KEDA: tidegate up scales by itself",
    "jetstream_": "the exporter next to each nats-server of a cluster, or of compose.yaml",
    "gnatsd_": "the same",
    "tidegate_scaler_requests_total": "the scaler's service, which KEDA asks",
    "tidegate_scaler_streams": "the same",
}
# Series that begin with an event which may not come.
RARE = {
    "tidegate_dead_lettered_total": "no message fails",
    "tidegate_failed_total": "no message fails",
    "tidegate_redelivered_total": "no message comes twice",
    "tidegate_duplicate_results_total": "no message comes twice",
    "tidegate_handed_back_total": "no replica ends",
    "tidegate_unreadable_skipped_total": "all video can be read",
    "tidegate_over_budget_total": "no segment is too costly",
    "tidegate_usage_dropped_total": "all usage is stored",
    "tidegate_ingest_reconnects_total": "cameras stay connected",
    "tidegate_ingest_dropped_segments_total": "no video is lost",
    "tidegate_ingest_dropped_frames_total": "no video is lost",
    "tidegate_ingest_publish_errors_total": "JetStream stores all",
    "tidegate_ingest_reanchors_total": "no clock steps",
    "tidegate_reanalysis_segments_total": "nobody asks for it",
    "tidegate_backfill_jobs_total": "nothing is deferred",
    "tidegate_frames_deferred_total": "nothing is deferred",
    "tidegate_segments_expired_total": "nothing expires",
    "tidegate_search_refusals_total": "every query is valid",
    "tidegate_analytics_unstorable_total": "all events are stored",
    "tidegate_analytics_amended_total": "nothing is deferred",
    "tidegate_analytics_verifications_total": "no rule verifies",
    "tidegate_console_requests_total": "nobody opens the console",
    "tidegate_console_sign_ins_total": "nobody opens the console",
    "tidegate_console_dropped_total": "nobody opens the console",
    "tidegate_webhook_requests_total": "no rule raises an alert",
}
# A question's; as a caption it is a text.
ANSWER = '{"answer":"A person is there.","frames":[1]}'
# Selectors that nothing matches here.
UNMATCHED = {
    r'(component|service)=~?"scaler': "the scaler has pods of its own in a cluster; `up` has its metrics",
    r'_(wanted|analysed|work_seconds)\w*\{.*service="embed"': "embed is scaled by what is pending, without a target",
}
LOCAL = FILLED | {"$namespace": "local"}


def may_be_empty(query: str) -> bool:
    """Whether the query may be empty, by the metrics that it reads."""
    if any(re.search(pattern, query) for pattern in UNMATCHED):
        return True
    return any(name.startswith(tuple(ABSENT)) or name in RARE for name in promql.selected(query))


def selectors(expr: str) -> Iterator[str]:
    """The selectors of an alert: what it reads, whatever the values are."""
    for name in promql.selected(expr):
        yield from (found[0] for found in re.finditer(rf"\b{name}\b(\{{[^}}]*\}})?", expr))


EXPECTED = {query for name in NAMES for query, _ in queries(name, LOCAL) if not may_be_empty(query)}
READ = {each for rule in ALERTS.values() for each in selectors(rule["expr"]) if not may_be_empty(each)}


@pytest_asyncio.fixture
async def prometheus(tmp_path: Path) -> AsyncIterator[Prometheus]:
    """A Prometheus next to `tidegate up` with a camera, a model's server, and a webhook."""
    if not shutil.which("prometheus"):
        pytest.skip("Prometheus is not installed: apt-get install prometheus")
    data = tmp_path / "data"
    videos = footage.embedded(footage.cache() / f"footage-{footage.VERSION}")[:1]
    async with OpenAiServer(then=text(ANSWER)) as model, Bank(videos, tmp_path / "bank") as bank:
        endpoint = {"VLM_URL": model.url, "VLM_MODEL": model.models[0], "VLM_CAPTION_EVERY_S": "5"}
        env = {**os.environ, **endpoint, "TIDEGATE_DATA": str(data), "WEBHOOK_URL": "http://127.0.0.1:9/"}
        command = ["up", "--search", "--analytics", "--record", "--vlm", "--plain", "--port", "0"]
        up = child.spawn(child.python("tidegate", *command), log=tmp_path / "up.log", env=env)
        try:
            await until(lambda: (data / "run.json").exists() or up.poll() is not None)
            assert up.poll() is None, (tmp_path / "up.log").read_text()
            for video in videos:
                await run(env, "camera", "add", video.stem, bank.url(video.name))
            async with Prometheus(tmp_path, *dashboards.scrapes(data)) as found:
                await until(lambda: found.query("query", query="tidegate_search_rows_total").get("result"))
                await run(env, "find", "person")
                await run(env, "ask", "what happens?", "--camera", videos[0].stem)
                yield found
        finally:
            up.terminate()
            await asyncio.to_thread(up.wait, patience_s())


async def run(env: dict[str, str], *command: str) -> None:
    process = await asyncio.create_subprocess_exec(*child.python("tidegate", *command), env=env)
    assert await process.wait() == 0, command


async def test_no_query_is_empty_without_a_reason(prometheus: Prometheus) -> None:
    left = EXPECTED | READ
    deadline = time.monotonic() + patience_s()
    while left and time.monotonic() < deadline:
        left = {each for each in left if not prometheus.query("query", query=each).get("result")}
        await asyncio.sleep(1)
    assert sorted(left) == []
    assert len(EXPECTED) > 150 and len(READ) > 20
    # A metric that is absent has a reason that holds.
    found = prometheus.query("label/__name__/values")
    assert [name for name in found if name.startswith(tuple(ABSENT))] == []
    assert "TidegateNotSeen" not in prometheus.firing()
