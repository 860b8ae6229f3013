"""ScaledObject files: the one we ship, the defaults, and a sentence for every way to get one wrong."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import yaml

from shared.contract import names
from shared.runtime.errors import SettingError
from tests.support.kube.scaledobjects import document, prometheus_trigger
from tests.support.paths import ROOT
from tidegate.keda.scaledobject import (
    ExternalTrigger,
    JetStreamTrigger,
    PrometheusTrigger,
    load,
    parse,
)
from tools.reference.scaledobject import REFUSED

CV = ROOT / "deploy/keda/cv.yaml"


def refusal(content: dict[str, Any]) -> str:
    with pytest.raises(SettingError) as e:
        parse(yaml.safe_dump(content), "cv.yaml")
    assert str(e.value).startswith("cv.yaml")
    return str(e.value)


def test_the_shipped_file() -> None:
    scaled = load(CV)
    assert scaled.name == "tidegate-cv"
    (trigger,) = scaled.triggers
    assert isinstance(trigger, JetStreamTrigger)
    assert (trigger.stream, trigger.consumer) == (names.MEDIA, "cv")
    assert scaled.spec.min_replica_count == 0
    assert scaled.spec.behavior is not None


def test_defaults_are_keda_s() -> None:
    scaled = parse(yaml.safe_dump(document()))
    spec = scaled.spec
    assert (spec.polling_interval, spec.cooldown_period) == (30, 300)
    assert (spec.min_replica_count, spec.max_replica_count) == (0, 100)
    assert (spec.behavior, spec.fallback) == (None, None)
    (trigger,) = scaled.triggers
    assert isinstance(trigger, JetStreamTrigger)
    assert (trigger.lag_threshold, trigger.activation_lag_threshold) == (10, 0)
    assert trigger.name == ""
    assert spec.modifiers is None


def test_an_empty_behavior_is_set() -> None:
    advanced = {"horizontalPodAutoscalerConfig": {"behavior": {}}}
    assert parse(yaml.safe_dump(document(advanced=advanced))).spec.behavior is not None


def test_finds_the_scaledobject_among_documents() -> None:
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
        ({"fallback": {"replicas": 1}}, "spec.fallback: field `failureThreshold`", "add it"),
        (
            {"fallback": {"failureThreshold": 1, "replicas": 1, "behavior": "x"}},
            "spec.fallback.behavior",
            "static",
        ),
        ({"triggers": []}, "spec.triggers", "length >= 1"),
        ({"advanced": {"scalingmodifiers": {}}}, "spec.advanced: field `scalingmodifiers`", "remove it"),
    ],
)
def test_refusals_name_the_remedy(spec: dict[str, Any], where: str, remedy: str) -> None:
    text = refusal(document(**spec))
    assert where in text and remedy in text


@pytest.mark.parametrize(
    ("rules", "where", "remedy"),
    [
        ({"stabilizationWindowSeconds": 3601}, "scaleDown.stabilizationWindowSeconds", "<= 3600"),
        ({"policies": []}, "scaleDown.policies", "length >= 1"),
        ({"selectPolicy": "Most"}, "scaleDown.selectPolicy", "only Max is modelled: take it, or remove the field"),
        ({"tolerance": -0.1}, "scaleDown.tolerance", ">= 0"),
        (
            {"policies": [{"type": "Pods", "value": 1, "periodSeconds": 1801}]},
            "policies[0].periodSeconds",
            "1800",
        ),
        (
            {"policies": [{"type": "Pod", "value": 1, "periodSeconds": 5}]},
            "policies[0].type",
            "only Pods or Percent is",
        ),
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
        ({"name": "lag"}, "spec.triggers[0].metadata.name belongs next to metadata"),
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
    (parsed,) = parse(yaml.safe_dump(content)).triggers
    assert isinstance(parsed, JetStreamTrigger)
    assert parsed.account == ""


def test_an_account_may_be_given_by_its_id() -> None:
    content = document()
    metadata = content["spec"]["triggers"][0]["metadata"]
    metadata["accountID"] = metadata.pop("account")
    assert parse(yaml.safe_dump(content)).triggers


def with_external(kind: str = "external-push", metadata: dict[str, str] | None = None, **beside: Any) -> dict[str, Any]:
    return document(
        triggers=[{"type": kind, "metadata": {"scalerAddress": "scaler:9090", **(metadata or {})}, **beside}]
    )


@pytest.mark.parametrize(("kind", "push"), [("external", False), ("external-push", True)])
def test_an_external_trigger_keeps_the_metadata_of_its_scaler(kind: str, push: bool) -> None:
    own = {"service": "cv", "stream": "MEDIA", "latencyTarget": "2", "enableTLS": "true", "unsafeSsl": "false"}
    content = with_external(kind, own, name="demand")
    assert parse(yaml.safe_dump(content)).triggers == (
        ExternalTrigger(
            scaler_address="scaler:9090",
            push=push,
            enable_tls=True,
            metadata={"service": "cv", "stream": "MEDIA", "latencyTarget": "2"},
            name="demand",
        ),
    )


@pytest.mark.parametrize(
    ("metadata", "beside", "says"),
    [
        ({"scalerAddress": ""}, {}, "spec.triggers[0].metadata.scalerAddress"),
        ({"enableTLS": "maybe"}, {}, "spec.triggers[0].metadata.enableTLS"),
        ({}, {"nmae": "x"}, "field `nmae`"),
    ],
)
def test_refuses_external_triggers(metadata: dict[str, str], beside: dict[str, Any], says: str) -> None:
    assert says in refusal(with_external(metadata=metadata, **beside))


def test_an_external_trigger_needs_an_address() -> None:
    content = with_external()
    del content["spec"]["triggers"][0]["metadata"]["scalerAddress"]
    assert "spec.triggers[0].metadata: field `scalerAddress` is missing" in refusal(content)


def test_a_prometheus_trigger_has_keda_s_defaults() -> None:
    (trigger,) = parse(yaml.safe_dump(document(triggers=[prometheus_trigger()]))).triggers
    assert trigger == PrometheusTrigger(
        server_address="http://prometheus:9090",
        query="sum(busy)",
        threshold=0.7,
        activation_threshold=0.0,
    )
    own = prometheus_trigger(activationThreshold="-1", ignoreNullValues="true", timeout="2s", authModes="bearer")
    (trigger,) = parse(yaml.safe_dump(document(triggers=[own]))).triggers
    assert isinstance(trigger, PrometheusTrigger)
    assert trigger.activation_threshold == -1.0


@pytest.mark.parametrize(
    ("metadata", "says"),
    [
        ({"serverAddress": ""}, "spec.triggers[0].metadata.serverAddress"),
        ({"query": ""}, "spec.triggers[0].metadata.query"),
        ({"threshold": "0"}, "spec.triggers[0].metadata.threshold: Expected `float` >= 0.001"),
        ({"threshold": "most"}, "spec.triggers[0].metadata.threshold"),
        ({"ignoreNullValue": "true"}, "spec.triggers[0].metadata: field `ignoreNullValue`"),
    ],
)
def test_refuses_prometheus_triggers(metadata: dict[str, str], says: str) -> None:
    assert says in refusal(document(triggers=[prometheus_trigger(**metadata)]))


def test_fields_that_change_no_count_are_accepted() -> None:
    advanced = {"restoreToOriginalReplicaCount": True, "horizontalPodAutoscalerConfig": {"name": "cv"}}
    content = document(advanced=advanced)
    content["spec"]["scaleTargetRef"]["envSourceContainerName"] = "cv"
    content["metadata"]["annotations"] = {"scaledobject.keda.sh/transfer-hpa-ownership": "true"}
    assert parse(yaml.safe_dump(content)).spec.behavior is None


def annotated(name: str) -> dict[str, Any]:
    content = document()
    content["metadata"]["annotations"] = {f"autoscaling.keda.sh/{name}": "true"}
    return content


def with_modifiers(**modifiers: Any) -> dict[str, Any]:
    triggers = [
        {"type": "external", "name": name, "metadata": {"scalerAddress": "scaler:9090"}} for name in ("lag", "gpu")
    ]
    return document(
        triggers=triggers, advanced={"scalingModifiers": {"formula": "lag + gpu", "target": "2", **modifiers}}
    )


@pytest.mark.parametrize("formula", ["lag + gpu", "gpu+lag", " lag\n + gpu "])
def test_the_sum_of_all_triggers(formula: str) -> None:
    modifiers = parse(yaml.safe_dump(with_modifiers(formula=formula, activationTarget="0"))).spec.modifiers
    assert modifiers is not None
    assert (modifiers.formula, modifiers.target) == (formula, "2")


@pytest.mark.parametrize(
    ("formula", "construct"),
    [
        ("lag / gpu", "has '/'"),
        ("lag - gpu", "has '-'"),
        ("2 * lag + gpu", "has '2'"),
        ("(lag + gpu)", "has '('"),
        ("max(lag, gpu)", "has 'max'"),
        ("float (lag) + gpu", "has 'float'"),
        ("lag > gpu ? lag : gpu", "has '>'"),
        ("lag ?? gpu", "has '??'"),
        ("lag in [1, 2]", "has 'in'"),
        ("let x = 1; x", "has 'let'"),
        ("lag and gpu", "has 'and'"),
        ("lag + cpu", "has 'cpu'"),
        ("lag", "is 'lag'"),
        ("lag + gpu + gpu", "is 'lag + gpu + gpu'"),
        ("lag + gpu +", "is 'lag + gpu +'"),
        ("", "is ''"),
    ],
)
def test_refuses_other_formulas_and_names_the_supported_one(formula: str, construct: str) -> None:
    text = refusal(with_modifiers(formula=formula))
    assert f"spec.advanced.scalingModifiers.formula {construct}" in text
    assert "write lag + gpu, or take the formula out" in text


@pytest.mark.parametrize(
    ("modifiers", "says"),
    [
        ({"target": 2}, "put the value in quotes"),
        ({"target": "2.5"}, "spec.advanced.scalingModifiers.target"),
        ({"target": "0"}, "spec.advanced.scalingModifiers.target"),
        ({"activationTarget": "3"}, "spec.advanced.scalingModifiers.activationTarget"),
        ({"metricType": "Value"}, "spec.advanced.scalingModifiers: field `metricType`"),
    ],
)
def test_refuses_scaling_modifiers(modifiers: dict[str, Any], says: str) -> None:
    assert says in refusal(with_modifiers(**modifiers))


def test_a_sum_needs_a_target() -> None:
    content = with_modifiers()
    del content["spec"]["advanced"]["scalingModifiers"]["target"]
    assert "spec.advanced.scalingModifiers: field `target` is missing: add it" in refusal(content)


UNMODELLED: dict[str, dict[str, Any]] = {
    "spec.idleReplicaCount": document(idleReplicaCount=0, minReplicaCount=1),
    "spec.initialCooldownPeriod": document(initialCooldownPeriod=60),
    "spec.fallback.behavior": document(
        fallback={"failureThreshold": 3, "replicas": 1, "behavior": "currentReplicasIfLower"}
    ),
    "spec.advanced.scalingModifiers.formula": with_modifiers(formula="max(lag, gpu)"),
    "spec.advanced.scalingModifiers.target": with_modifiers(target="2.5"),
    "spec.advanced.scalingModifiers.activationTarget": with_modifiers(activationTarget="3"),
    "spec.advanced.scalingModifiers.metricType": with_modifiers(metricType="Value"),
    "selectPolicy": document(
        advanced={"horizontalPodAutoscalerConfig": {"behavior": {"scaleDown": {"selectPolicy": "Disabled"}}}}
    ),
    "spec.triggers[0].type": document(triggers=[{"type": "cpu", "metadata": {"value": "60"}}]),
    "spec.triggers[0].metricType": document(triggers=[{**prometheus_trigger(), "metricType": "Value"}]),
    "useCachedMetrics": document(triggers=[{**prometheus_trigger(), "useCachedMetrics": True}]),
    "ignoreNullValues": document(triggers=[prometheus_trigger(ignoreNullValues="false")]),
    "metadata.annotations.autoscaling.keda.sh/": annotated("paused-replicas"),
}


def test_the_page_lists_the_refused_fields() -> None:
    assert UNMODELLED.keys() == {name for name, _ in REFUSED}


@pytest.mark.parametrize("name", UNMODELLED)
def test_unmodelled_fields_are_refused_by_name(name: str) -> None:
    text = refusal(UNMODELLED[name])
    path, _, field = name.rpartition(".")
    assert field in text and path.partition("keda")[0] in text
    assert any(remedy in text for remedy in ("remove it", "change it", "take", "write"))


@pytest.mark.parametrize("name", ["paused", "paused-scale-in", "paused-scale-out", "force-activation", "pause"])
def test_annotations_of_autoscaling_are_refused(name: str) -> None:
    assert f"metadata.annotations.autoscaling.keda.sh/{name} is not modelled: remove it" in refusal(annotated(name))


def test_triggers_of_a_formula_have_names_of_their_own() -> None:
    content = with_modifiers()
    del content["spec"]["triggers"][1]["name"]
    assert "spec.triggers[1] has no name, by which the formula could use it: add one" in refusal(content)
    content["spec"]["triggers"][1]["name"] = "lag"
    assert "spec.triggers has two of name 'lag': rename one" in refusal(content)


def test_a_parsed_file_can_be_pickled() -> None:
    scaled = parse(yaml.safe_dump(with_modifiers()))
    assert pickle.loads(pickle.dumps(scaled)) == scaled


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="can't be read: No such file"):
        load(tmp_path / "none.yaml")
    (tmp_path / "bad.yaml").write_text("a: [")
    with pytest.raises(SettingError, match="is not YAML"):
        load(tmp_path / "bad.yaml")
