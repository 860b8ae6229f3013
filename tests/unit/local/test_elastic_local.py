"""On one machine: work degrades to defend the target of a ScaledObject by demand; the pending count defends none."""

from __future__ import annotations

import pytest

from shared.contract import catalog
from tests.support.paths import ROOT
from tidegate.keda.scaledobject import ScaledObject, load
from tidegate.local.scaling import scaled_objects
from tidegate.local.scaling.scaled_objects import scaled_object

KEDA = ROOT / "deploy/keda"


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for service in scaled_objects.DEGRADABLE:
        monkeypatch.delenv(scaled_objects.setting(service), raising=False)


@pytest.mark.parametrize("service", scaled_objects.DEGRADABLE)
def test_demand_defends_its_target(service: str) -> None:
    scaled = scaled_objects.with_query(scaled_object(service), latencyTarget=3.5)
    assert scaled_objects.environment(service, scaled) == {f"{service.upper()}_LATENCY_TARGET_S": "3.5"}
    assert not scaled_objects.unused(service, scaled)


@pytest.mark.parametrize("service", scaled_objects.DEGRADABLE)
def test_the_pending_count_degrades_nothing_and_an_unused_target_is_reported(
    service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_lag = load(KEDA / f"{service}.yaml")
    assert scaled_objects.environment(service, by_lag) == {scaled_objects.setting(service): "0"}
    assert not scaled_objects.unused(service, by_lag)
    monkeypatch.setenv(scaled_objects.setting(service), "2")
    assert scaled_objects.environment(service, by_lag) == {scaled_objects.setting(service): "0"}
    assert "deploy/keda/demand" in scaled_objects.unused(service, by_lag)


def test_settings_of_an_operator_override_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CV_LATENCY_TARGET_S", "7")
    assert scaled_objects.environment("cv", scaled_object("cv")) == {"CV_LATENCY_TARGET_S": "7"}


def test_other_services_get_no_target() -> None:
    assert scaled_objects.environment("search", scaled_object("cv")) == {}


@pytest.mark.parametrize("service", [s.name for s in catalog.SERVICES if s.scaled_object])
def test_one_machine_scales_by_demand(service: str) -> None:
    scaled = scaled_object(service)
    (queries,) = scaled_objects.demand_queries(scaled)
    assert queries.service == service


def test_a_request_changes_the_named_fields_only() -> None:
    scaled: ScaledObject = scaled_object("cv")
    (before,), (after,) = (
        scaled_objects.demand_queries(scaled),
        scaled_objects.demand_queries(scaled_objects.with_query(scaled, coldStart=5)),
    )
    assert after.settings.cold_start_s == 5
    assert (after.settings.latency_target_s, after.settings.lag_threshold) == (
        before.settings.latency_target_s,
        before.settings.lag_threshold,
    )
