"""Sensors of VSS, and ScaledObjects by lag: fields taken over, differences, and refusals."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.runtime.errors import SettingError
from shared.site import format
from tests.support.examples import examples
from tidegate.audit.candidates import bases
from tidegate.audit.trial import simulate
from tidegate.importing import keda, vss
from tidegate.importing.report import APPROXIMATED, MAPPED, NONE, leaves
from tidegate.importing.site_file import text_of
from tidegate.importing.source import read_list
from tidegate.keda.scaledobject import parse
from tidegate.simulation.engine import Workload
from tidegate.simulation.generate import generated

SENSORS = {
    "sensors": [
        {"camera_name": "dock 1", "rtsp_url": "rtsp://eve:dock-secret@10.0.0.3/a", "group_id": "north", "region": "x"},
        {
            "name": "gate",
            "sensorUrl": "rtsp://10.0.0.4/b",
            "username": "eve",
            "password": "gate-secret",
            "state": "online",
        },
        {"name": "old", "url": "rtsp://10.0.0.5/c", "state": "removed"},
        {"name": "web", "url": "http://10.0.0.6/d"},
    ],
    "alerts": [{"alert_type": "Blocked exit", "prompts": {"system": "s", "user": "Is the exit blocked?"}}],
}
LAG = """
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {name: detector}
spec:
  scaleTargetRef: {name: detector}
  minReplicaCount: 1
  maxReplicaCount: 12
  pollingInterval: 10
  triggers:
    - type: %s
      metadata: {lagThreshold: "50", %s}
"""
KAFKA = LAG % ("kafka", "bootstrapServers: 'kafka:9092', consumerGroup: g, topic: frames")
JETSTREAM = LAG % ("nats-jetstream", "stream: FRAMES, consumer: c, account: a")
LOAD = Workload(service_rate=12, latency_target_s=2, cold_start_s=60)


def proposal(text: str) -> keda.Proposal:
    return keda.convert(keda.only_document(text.encode(), "scaledobject.yaml"), "scaledobject.yaml", bases("cv"), LOAD)


def test_sensors_become_cameras_and_groups() -> None:
    found = vss.convert(read_list(json.dumps(SENSORS).encode(), "sensors.json", "sensors"), "sensors.json")
    text = text_of(found.site, "sensors.json")
    site = format.read(text.encode(), "site.yaml")
    assert {id: (camera.url, camera.user, camera.password) for id, camera in site.cameras.items()} == {
        "dock_1": ("rtsp://10.0.0.3/a", "eve", "${SITE_DOCK_1_PASSWORD}"),
        "gate": ("rtsp://10.0.0.4/b", "eve", "${SITE_GATE_PASSWORD}"),
    }
    assert site.groups["north"].cameras == ["dock_1"]
    assert "Is the exit blocked?" in text
    assert "secret" not in text + json.dumps(found.report.rows())
    assert len(found.report.rows()) == len(list(leaves(SENSORS)))


def test_a_bare_list_is_one_of_sensors() -> None:
    found = vss.convert(read_list(b'[{"name": "a", "url": "rtsp://h/x"}]', "list.json", "sensors"), "list.json")
    assert found.site == {"cameras": {"a": {"url": "rtsp://h/x"}}}


@pytest.mark.parametrize(
    "text", [b"[]", b"{}", b"[1]", b'{"sensors": 5}', b'[{"name": "a"}]', b'{"sensors": [{}]}', b"["]
)
def test_what_has_no_sensors_is_refused(text: bytes) -> None:
    with pytest.raises(SettingError, match=r"list\.json"):
        vss.convert(read_list(text, "list.json", "sensors"), "list.json")


@pytest.mark.parametrize("text", [KAFKA, JETSTREAM, f"kind: Service\nmetadata: {{name: x}}\n---{KAFKA}"])
def test_the_bounds_of_replicas_are_taken_over(text: str) -> None:
    found = proposal(text)
    scaled = parse(found.text)
    assert (scaled.spec.min_replica_count, scaled.spec.max_replica_count) == (1, 12)
    assert "latencyTarget=2" in found.text
    rows = {row.field: row.status for row in found.report.rows()}
    assert rows["spec.maxReplicaCount"] == MAPPED
    assert rows["spec.pollingInterval"] == rows["spec.triggers[0].metadata.lagThreshold"] == APPROXIMATED
    assert rows["spec.scaleTargetRef.name"] == NONE


@pytest.mark.slow
def test_the_policy_of_the_input_is_simulated_by_its_own_threshold() -> None:
    trace = next(trace for trace in generated() if trace.name == "ramp")
    often, seldom = (simulate(proposal(KAFKA.replace("50", lag)).foreign, trace, LOAD) for lag in ("5", "5000"))
    assert often.replica_hours > seldom.replica_hours


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("type: kafka", "type: cron"),
        ('"50"', '"0"'),
        ('"50"', "{}"),
        ("kind: ScaledObject", "kind: ScaledObjects"),
        ("maxReplicaCount: 12", "maxReplicaCount: many"),
        ("maxReplicaCount: 12", "maxReplicaCount: 0"),
        ("pollingInterval: 10", "advanced: {scalingModifiers: {formula: x}}"),
    ],
)
def test_what_is_not_modelled_is_refused(old: str, new: str) -> None:
    with pytest.raises(SettingError, match=r"scaledobject\.yaml"):
        proposal(KAFKA.replace(old, new))


_VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["name", "url", "rtsp_url", "group_id", "password", "username"]), inner),
    ),
    max_leaves=8,
)


@settings(max_examples=examples(500))
@given(_VALUES, _VALUES, _VALUES)
def test_any_value_is_converted_or_refused(sensors: Any, alerts: Any, spec: Any) -> None:
    text = json.dumps({"sensors": [{"name": "a", "url": "rtsp://h/x"}, sensors], "alerts": alerts}).encode()
    found = vss.convert(read_list(text, "sensors.json", "sensors"), "sensors.json")
    format.read(text_of(found.site, "sensors.json").encode(), "site.yaml")
    with pytest.raises(SettingError):
        keda.convert({"kind": "ScaledObject", "spec": spec}, "scaledobject.yaml", bases("cv"), LOAD)
