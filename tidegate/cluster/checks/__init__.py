"""What is looked at in a cluster: a function a line of `tidegate cluster check`, pure over what was gathered.

    findings = checks.all_of(cluster)

Each says `bad` only of what keeps Tidegate from working as its manifests promise, and `note` of what it could not see.
"""

from __future__ import annotations

from tidegate.cluster.checks import base, given, network, nodes, pods, quality, scaling, streams
from tidegate.cluster.state import Cluster
from tidegate.view.findings import Finding


def all_of(cluster: Cluster) -> list[Finding]:
    """In the order in which one thing needs the other: what is bad first is mended first."""
    looks = (
        base.unanswered,
        base.kubernetes,
        base.keda_is_new_enough,
        base.keda_runs,
        base.external_metrics,
        given.applied,
        given.references,
        given.claims,
        streams.setup,
        streams.servers,
        streams.memory,
        streams.there,
        scaling.scaled,
        scaling.hpas,
        scaling.answers,
        quality.bends,
        nodes.gpus,
        pods.images,
        pods.running,
        network.reach,
    )
    return [finding for look in looks for finding in look(cluster)]
