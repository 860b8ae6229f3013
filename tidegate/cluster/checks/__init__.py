"""The checks of a cluster: one function per line of `tidegate cluster check`, pure over the gathered state.

    findings = checks.all_of(cluster)

`bad` means that Tidegate can't work as its manifests promise, `note` that a check lacked data.

| module | idea |
|---|---|
| `base` | Kubernetes, KEDA, and the API by which HPAs ask KEDA |
| `dependencies` | the applied objects, and the Secrets, ConfigMaps and volumes that they name |
| `streams` | NATS and its contents |
| `scaling` | ScaledObjects, HPAs and KEDA's answers; degrading workers scaled by demand |
| `nodes`, `pods` | GPUs where workers may run; every workload's pods |
| `network` | required connections, and forbidden ones |
"""

from __future__ import annotations

from tidegate.cluster.checks import base, dependencies, network, nodes, pods, scaling, streams
from tidegate.cluster.state import Cluster
from tidegate.view.findings import Finding


def all_of(cluster: Cluster) -> list[Finding]:
    """Return the findings in order of dependency: fix the first bad one first."""
    looks = (
        base.unanswered,
        base.kubernetes,
        base.keda_is_new_enough,
        base.keda_runs,
        base.external_metrics,
        dependencies.applied,
        dependencies.references,
        dependencies.claims,
        streams.setup,
        streams.servers,
        streams.memory,
        streams.there,
        scaling.scaled,
        scaling.hpas,
        scaling.answers,
        scaling.degradation,
        nodes.gpus,
        pods.images,
        pods.running,
        network.reach,
    )
    return [finding for look in looks for finding in look(cluster)]
