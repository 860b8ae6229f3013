"""How each service is scaled now, from the running scalers."""

from __future__ import annotations

import asyncio
import re
from typing import Literal

import msgspec
import nats.errors
from nats.aio.client import Client

from services.console.web.cached_value import CachedValue
from shared.client.explain import ask, in_force
from shared.contract import catalog
from shared.contract.questions.explain import Explanation, Explanations
from shared.contract.questions.whatif import InForce
from shared.runtime.errors import BusError, TidegateError

# KEDA queries at each poll, by default every 30 s. An older query has the settings of before a change.
CURRENT_S = 60.0
# Interval of the requests to scalers, for any number of viewers.
EVERY_S = 1.0

INGEST = "ingest"
# What a scaler does not know.
BOUNDS = (
    "minReplicaCount, maxReplicaCount and how fast replicas come and go are in the ScaledObject, which KEDA reads and "
    "the scaler does not: kubectl get scaledobject"
)
Policy = Literal["demand", "lag rule", "cameras", "pending count", "unknown"]


class ScalingQuery(msgspec.Struct, frozen=True, kw_only=True):
    """One trigger's query of a scaler. by: the kind of scaler. trigger: its metadata, as the scaler has it."""

    by: str
    is_current: bool
    trigger: dict[str, str]
    explanation: Explanation


class ScaledService(msgspec.Struct, frozen=True, kw_only=True):
    """policy: what decides the number of replicas; sentence: the same in words. queries: the current one first.

    in_force: its settings, for a what-if; None if it is not scaled by demand.
    """

    service: str
    policy: Policy
    sentence: str
    queries: list[ScalingQuery] = []
    in_force: InForce | None = None


class Now:
    """client: the viewer's connection."""

    def __init__(self, client: Client) -> None:
        self._client = client
        # Every service that can be scaled.
        self.services: CachedValue[list[ScaledService]] = CachedValue(self._services, EVERY_S)

    async def in_force(self, service: str) -> InForce | None:
        """Return the settings of a service scaled by demand; None if it is not, or no scaler answers."""
        return next((each.in_force for each in await self.services.get() if each.service == service), None)

    async def _services(self) -> list[ScaledService]:
        wanted = [s.name for s in catalog.services() if s.scaled_object]
        found = await asyncio.gather(*(self._service(name) for name in (*wanted, INGEST)))
        # Ingest is scaled only in a cluster.
        return [each for each in found if each.service != INGEST or each.queries]

    async def _service(self, service: str) -> ScaledService:
        try:
            answers = await ask(self._client, service)
        except (TidegateError, TimeoutError, nats.errors.Error) as e:
            why = str(e) if isinstance(e, BusError) else "the server does not answer"
            return ScaledService(service=service, policy="unknown", sentence=why)
        return scaled_service(service, answers)


def scaled_service(service: str, answers: list[Explanations]) -> ScaledService:
    """Combine the answers of all scalers."""
    found = sorted(((e.asked_s, a.by, e) for a in answers for e in a.found), key=lambda each: each[0])
    queries = [
        ScalingQuery(
            by=by,
            is_current=age_s < CURRENT_S,
            trigger={_key(name): _text(value) for name, value in e.settings.items()},
            explanation=e,
        )
        for age_s, by, e in found
    ]
    current = next((query.explanation for query in queries if query.is_current), None)
    policy = _policy(current)
    return ScaledService(
        service=service,
        policy=policy,
        sentence=_sentence(service, policy, current),
        queries=queries,
        in_force=in_force(current) if current else None,
    )


def _policy(current: Explanation | None) -> Policy:
    if current is None:
        return "pending count"
    if "cameras_per_replica" in current.settings:
        return "cameras"
    return "lag rule" if current.terms.get("basis") == "lag" else "demand"


def _sentence(service: str, policy: Policy, current: Explanation | None) -> str:
    if current is None:
        return (
            f"no ScaledObject asks a scaler for {service}: a trigger that counts pending messages scales it, or nothing"
        )
    if current.error:
        return f"how many replicas {service} needs is not known: {current.error}"
    wanted = current.terms.get("replicas")
    count = f"{wanted:.4g}" if isinstance(wanted, float | int) else "?"
    active = "work to do" if current.terms.get("active") else "nothing to do"
    need = f"{service} needs {count} {'replica' if count == '1' else 'replicas'} for {current.of}: {active}"
    return f"{need}; {current.shortage.words}" if current.shortage else need


def _key(name: str) -> str:
    """`latency_target_s` is `latencyTarget`."""
    return re.sub(r"_(\w)", lambda found: found[1].upper(), name.removesuffix("_s"))


def _text(value: object) -> str:
    return f"{value:g}" if isinstance(value, float | int) else str(value)
