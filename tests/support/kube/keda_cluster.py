"""ScaledObjects in a model of KEDA that takes every decision immediately."""

from __future__ import annotations

from typing import Any

import yaml
from hypothesis import strategies as st

from tests.support.kube.scaledobjects import document, lag_trigger
from tidegate.keda.decision import Keda
from tidegate.keda.hpa import SYNC_S
from tidegate.keda.scaledobject import ScaledObject, parse
from tidegate.keda.source import Metric

AWAY = RuntimeError("nats is away")


def scaled(
    *,
    target: int = 10,
    activation: int = 0,
    triggers: int | list[dict[str, Any]] = 1,
    behavior: dict[str, Any] | None = None,
    modifiers: dict[str, Any] | None = None,
    **spec: Any,
) -> ScaledObject:
    """triggers: that many of one kind, or a list of them."""
    trigger = lag_trigger(lagThreshold=str(target), activationLagThreshold=str(activation))
    advanced: dict[str, Any] = {"scalingModifiers": modifiers} if modifiers else {}
    if behavior is not None:
        advanced["horizontalPodAutoscalerConfig"] = {"behavior": behavior}
    given = [trigger] * triggers if isinstance(triggers, int) else triggers
    content = document(triggers=given, advanced=advanced, **spec)
    return parse(yaml.safe_dump(content))


def external(name: str = "") -> dict[str, Any]:
    return {"type": "external-push", "name": name, "metadata": {"scalerAddress": "scaler:9090"}}


class Cluster:
    """A Keda whose decisions take effect immediately, and their history."""

    def __init__(self, so: ScaledObject, replicas: int = 0) -> None:
        self.keda = Keda(so, 0.0)
        self.replicas = replicas
        self.now = 0.0
        self.history: list[tuple[float, int, int, str]] = []

    def run(self, until: float, *metrics: Metric) -> Cluster:
        """Run every poll and sync up to and at `until`, under these metrics."""
        while self.keda.next_at <= until:
            self.now = self.keda.next_at
            decision = self.keda.step(self.now, metrics, self.replicas)
            if decision.desired != self.replicas:
                self.history.append((self.now, self.replicas, decision.desired, decision.reason))
            self.replicas = decision.desired
        return self

    def sync(self, *metrics: Metric) -> int:
        """Run one more HPA sync."""
        return self.run(SYNC_S / 2 if self.now < SYNC_S / 2 else self.now + SYNC_S, *metrics).replicas

    @property
    def changes(self) -> list[tuple[float, int, int]]:
        return [change[:3] for change in self.history]


metrics = st.lists(st.just(AWAY) | st.integers(0, 500).map(float), min_size=1, max_size=40)
