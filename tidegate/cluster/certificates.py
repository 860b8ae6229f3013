"""The certificates of a cluster with TLS: names and use. deploy/kubernetes/tls/cert-manager has the same list."""

from __future__ import annotations

import msgspec

from shared.contract import catalog


class Certificate(msgspec.Struct, frozen=True):
    """secret: its name. names: its DNS names. serves, asks: whether a server, a client shows it."""

    secret: str
    names: tuple[str, ...]
    serves: bool = True
    asks: bool = True


def wanted(namespace: str) -> list[Certificate]:
    """Return one for each pod, the servers, the admin, Prometheus, and both sides of KEDA and the scaler."""
    domain = f"{namespace}.svc.cluster.local"
    nats = (f"nats.{domain}", f"nats.{namespace}.svc", "nats", f"*.nats-headless.{domain}", "*.nats-headless")
    pods = sorted(service.name for service in catalog.services())
    return [
        # A process next to a server, or a port forward, uses localhost.
        Certificate("nats-tls", (*nats, "localhost")),
        *(Certificate(f"tidegate-tls-{pod}", (f"tidegate-{pod}",)) for pod in pods),
        Certificate("tidegate-tls-admin", ("tidegate-admin",), serves=False),
        Certificate("tidegate-tls-prometheus", ("tidegate-prometheus",), serves=False),
        Certificate("tidegate-scaler-tls", (f"tidegate-scaler.{domain}",), asks=False),
        Certificate("tidegate-scaler-client", ("keda",), serves=False),
    ]
