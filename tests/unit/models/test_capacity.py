"""From a rate to the cost of a camera, and to a ScaledObject."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tests.support.kube.deploy_checks import keda_problems
from tests.support.kube.deploy_checks import keda_schema as keda_schema
from tests.support.paths import ROOT
from tidegate.keda.scaledobject import JetStreamTrigger, parse
from tidegate.models import capacity, scaling

RATES = st.floats(0.02, 900)


@given(RATES, st.floats(0.5, 10), st.floats(0.01, 100))
def test_a_camera_costs_its_share_of_a_replica_at_its_load(rate: float, seconds: float, price: float) -> None:
    day = capacity.camera_day(price, rate, seconds)
    assert day * rate * seconds * capacity.LOAD == pytest.approx(24 * price)


@given(RATES, st.floats(0.5, 30), st.integers(4, 64))
def test_a_manifest_has_the_threshold_of_its_rate_and_is_otherwise_as_shipped(
    rate: float, latency_s: float, hold: int
) -> None:
    text, threshold = scaling.manifest(capacity.rounded(rate), latency_s, hold)
    (trigger,) = parse(text).triggers
    assert isinstance(trigger, JetStreamTrigger)
    assert trigger.lag_threshold == threshold.value > hold
    shipped = yaml.safe_load((ROOT / "deploy/keda/cv.yaml").read_text())
    written = yaml.safe_load(text)
    shipped["spec"]["triggers"][0]["metadata"]["lagThreshold"] = str(threshold.value)
    assert written["spec"] == shipped["spec"]
    assert float(written["metadata"]["annotations"]["tidegate.dev/latency-target-seconds"]) == pytest.approx(
        latency_s, rel=1e-5
    )


@pytest.mark.foreign
def test_a_manifest_is_valid_by_kedas_schema(keda_schema: Path) -> None:
    text, _ = scaling.manifest("5.31", 2.0, 5)
    assert set(keda_problems(keda_schema, [yaml.safe_load(text)])) == {None}
