"""ScaledObject files: the one we ship, the defaults, and a sentence for every way to get one wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import structlog
import yaml

from services.scaler.scaledobject import load, parse
from shared import names
from shared.errors import SettingError

CV = Path(__file__).parent.parent / "deploy/keda/cv.yaml"


def document(**spec: Any) -> dict[str, Any]:
    trigger = {
        "type": "nats-jetstream",
        "metadata": {
            "account": "A",
            "stream": "MEDIA",
            "consumer": "cv",
            "natsServerMonitoringEndpoint": "nats:8222",
        },
    }
    return {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": {"name": "tidegate-cv"},
        "spec": {"scaleTargetRef": {"name": "tidegate-cv"}, "triggers": [trigger], **spec},
    }


def refusal(content: dict[str, Any]) -> str:
    with pytest.raises(SettingError) as e:
        parse(yaml.safe_dump(content), "cv.yaml")
    assert str(e.value).startswith("cv.yaml")
    return str(e.value)


def test_the_shipped_file() -> None:
    scaled = load(CV)
    assert scaled.name == "tidegate-cv"
    assert [(t.stream, t.consumer) for t in scaled.triggers] == [(names.MEDIA, "cv")]
    assert scaled.spec.min_replica_count == 0
    assert scaled.spec.behavior is not None


def test_defaults_are_keda_s() -> None:
    scaled = parse(yaml.safe_dump(document()))
    spec = scaled.spec
    assert (spec.polling_interval, spec.cooldown_period, spec.initial_cooldown_period) == (30, 300, 0)
    assert (spec.min_replica_count, spec.max_replica_count, spec.idle_replica_count) == (0, 100, None)
    assert (spec.behavior, spec.fallback, scaled.paused) == (None, None, False)
    assert (scaled.triggers[0].lag_threshold, scaled.triggers[0].activation_lag_threshold) == (10, 0)


def test_an_empty_behavior_is_set() -> None:
    advanced = {"horizontalPodAutoscalerConfig": {"behavior": {}}}
    assert parse(yaml.safe_dump(document(advanced=advanced))).spec.behavior is not None


def test_takes_the_scaledobject_among_documents() -> None:
    other = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "x"}}
    assert parse(yaml.safe_dump_all([other, document()])).name == "tidegate-cv"
    with pytest.raises(SettingError, match="holds 0 documents of kind ScaledObject: it needs exactly one"):
        parse(yaml.safe_dump(other))
    with pytest.raises(SettingError, match="holds 2 documents"):
        parse(yaml.safe_dump_all([document(), document()]))


@pytest.mark.parametrize(
    ("spec", "where", "remedy"),
    [
        ({"minReplicas": 1}, "spec: field `minReplicas`", "correct its spelling or remove it"),
        ({"pollingInterval": 0}, "spec.pollingInterval", ">= 1"),
        ({"pollingInterval": "30"}, "spec.pollingInterval", "Expected `int`"),
        ({"maxReplicaCount": 0}, "spec.maxReplicaCount", ">= 1"),
        ({"minReplicaCount": 5, "maxReplicaCount": 4}, "spec.minReplicaCount 5", "lower the one"),
        ({"idleReplicaCount": 0}, "spec.idleReplicaCount 0", "not under spec.minReplicaCount"),
        ({"idleReplicaCount": 1, "minReplicaCount": 2}, "spec.idleReplicaCount 1", "set it to 0"),
        ({"fallback": {"replicas": 1}}, "spec.fallback: field `failureThreshold`", "add it"),
        (
            {"fallback": {"failureThreshold": 1, "replicas": 1, "behavior": "x"}},
            "spec.fallback.behavior",
            "static",
        ),
        ({"triggers": []}, "spec.triggers", "length >= 1"),
        ({"advanced": {"scalingModifiers": {}}}, "spec.advanced: field `scalingModifiers`", "remove it"),
    ],
)
def test_refuses_and_says_what_to_do(spec: dict[str, Any], where: str, remedy: str) -> None:
    text = refusal(document(**spec))
    assert where in text and remedy in text


@pytest.mark.parametrize(
    ("rules", "where", "remedy"),
    [
        ({"stabilizationWindowSeconds": 3601}, "scaleDown.stabilizationWindowSeconds", "<= 3600"),
        ({"policies": []}, "scaleDown.policies", "length >= 1"),
        ({"selectPolicy": "Most"}, "scaleDown.selectPolicy", "Max|Min|Disabled"),
        ({"tolerance": -0.1}, "scaleDown.tolerance", ">= 0"),
        (
            {"policies": [{"type": "Pods", "value": 1, "periodSeconds": 1801}]},
            "policies[0].periodSeconds",
            "1800",
        ),
        ({"policies": [{"type": "Pod", "value": 1, "periodSeconds": 5}]}, "policies[0].type", "Pods|Percent"),
    ],
)
def test_refuses_behaviors_that_kubernetes_refuses(rules: dict[str, Any], where: str, remedy: str) -> None:
    text = refusal(document(advanced={"horizontalPodAutoscalerConfig": {"behavior": {"scaleDown": rules}}}))
    assert where in text and remedy in text


@pytest.mark.parametrize(
    ("metadata", "says"),
    [
        ({"lagThreshold": 10}, "put the value in quotes"),
        ({"lagThreshold": "0"}, "spec.triggers[0].metadata.lagThreshold: Expected `int` >= 1"),
        ({"lagTreshold": "10"}, "spec.triggers[0].metadata: field `lagTreshold`"),
        ({"natsServerMonitoringEndpoint": ""}, "no natsServerMonitoringEndpoint: add it"),
        ({"account": ""}, "no account: add it"),
    ],
)
def test_refuses_trigger_metadata(metadata: dict[str, Any], says: str) -> None:
    content = document()
    content["spec"]["triggers"][0]["metadata"] |= metadata
    assert says in refusal(content)


def test_authentication_may_hold_the_endpoint() -> None:
    content = document()
    trigger = content["spec"]["triggers"][0]
    del trigger["metadata"]["account"], trigger["metadata"]["natsServerMonitoringEndpoint"]
    trigger["authenticationRef"] = {"name": "nats"}
    assert parse(yaml.safe_dump(content)).triggers[0].account == ""


def test_cpu_is_ignored_with_a_warning_and_others_are_errors() -> None:
    content = document()
    content["spec"]["triggers"].append({"type": "cpu", "metricType": "Utilization", "metadata": {"value": "60"}})
    with structlog.testing.capture_logs() as logs:
        assert len(parse(yaml.safe_dump(content)).triggers) == 1
    assert logs[0]["event"] == "trigger ignored" and logs[0]["trigger"] == "spec.triggers[1]"
    content["spec"]["triggers"][1]["type"] = "kafka"
    assert "spec.triggers[1].type is 'kafka'" in refusal(content)
    content["spec"]["triggers"] = [{"type": "cpu", "metadata": {"value": "60"}}]
    assert "none that can be read here" in refusal(content)


@pytest.mark.parametrize(
    ("annotations", "paused", "count"),
    [
        ({"autoscaling.keda.sh/paused": "true"}, True, None),
        ({"autoscaling.keda.sh/paused": "false"}, False, None),
        ({"autoscaling.keda.sh/paused-replicas": "0"}, True, 0),
    ],
)
def test_pause_annotations(annotations: dict[str, str], paused: bool, count: int | None) -> None:
    content = document()
    content["metadata"]["annotations"] = annotations
    scaled = parse(yaml.safe_dump(content))
    assert (scaled.paused, scaled.paused_replicas) == (paused, count)


def test_refuses_a_pause_that_is_no_count(tmp_path: Path) -> None:
    content = document()
    content["metadata"]["annotations"] = {"autoscaling.keda.sh/paused-replicas": "all"}
    assert "give a count" in refusal(content)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="can't be read: No such file"):
        load(tmp_path / "none.yaml")
    (tmp_path / "bad.yaml").write_text("a: [")
    with pytest.raises(SettingError, match="is not YAML"):
        load(tmp_path / "bad.yaml")
