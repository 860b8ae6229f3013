"""Renamed metrics have both names on /metrics until the next release, with equal values."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from nats.aio.client import Client
from prometheus_client import REGISTRY, Counter, Gauge, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from services.cv.static_scene import video
from services.vlm import metrics as vlm
from shared.contract import names
from shared.runtime.pages.former_metrics import FORMER
from shared.worker import metrics as worker
from tests.support.processes.service_process import ServiceProcess
from tests.support.waiting import patience_s
from tidegate.local.server import NatsServer
from tools.reference.metrics import exported

LABELLED: tuple[Counter | Gauge, ...] = (worker.FRAMES_ANALYSED, worker.HELD, worker.UNREADABLE_SKIPPED)
PLAIN = (video.AGAIN, video.IMAGES, video.REFUSED, video.SEGMENTS)


def test_each_metric_has_its_former_name_too() -> None:
    for n, metric in enumerate(LABELLED):
        metric.labels("former").inc(n + 1)
    for n, metric in enumerate(PLAIN):
        metric.inc(n + 1)
    worker.REANALYSIS.labels("former", "done").inc(2)
    vlm.ASK_REQUESTS.labels("former", 200).inc(3)
    found = values(generate_latest(REGISTRY).decode())
    for former, name in FORMER.items():
        assert found[name]
        assert found[former] == found[name]


def test_present_names_match_the_registered_metrics() -> None:
    kinds = {name: kind for name, kind, _ in exported()}
    assert {kinds[name] for name in FORMER.values()} == {"counter", "gauge"}
    assert not set(FORMER) & set(kinds)


@pytest.mark.slow
async def test_a_service_serves_both_names(server: NatsServer, admin: Client, tmp_path: Path) -> None:
    front = ServiceProcess("vlm-front", server.environment("vlm-front"), tmp_path)
    try:
        await front.until_it_says("/readyz", "ok")
        question = {"kind": "caption", "camera": "lobby", "wait_s": 0.1}
        await admin.request(names.ASK, json.dumps(question).encode(), timeout=patience_s())
        found = values(await front.says("/metrics"))
    finally:
        await front.end()
    name = FORMER["tidegate_vlm_asked_total"]
    assert list(found[name].values()) == [1.0]
    assert found["tidegate_vlm_asked_total"] == found[name]


def values(page: str) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    """The value of each series of a page, by its name and labels."""
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return found
