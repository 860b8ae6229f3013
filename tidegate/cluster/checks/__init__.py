"""The checks of a cluster: one function per line of `tidegate cluster check`, pure over the gathered state.

    findings = checks.all_of(cluster)

`bad` means that Tidegate can't work as its manifests promise, `note` that a check lacked data.

| module | idea |
|---|---|
| `base` | Kubernetes, KEDA, and the API by which HPAs ask KEDA |
| `dependencies` | the applied objects, and the Secrets, ConfigMaps and volumes that they name |
| `streams` | NATS and its contents |
| `triggers` | what each trigger asks for, by the rules of the scaler and of KEDA |
| `scaling` | ScaledObjects, HPAs and KEDA's answers; degrading workers scaled by demand |
| `nodes`, `pods` | GPUs where workers may run; every workload's pods |
| `network` | required connections, and forbidden ones |
| `causes` | what explains another line: it comes first, and names it |
"""

from __future__ import annotations

from tidegate.cluster.checks import base, causes, dependencies, network, nodes, pods, scaling, streams, triggers
from tidegate.cluster.state import Cluster
from tidegate.view.findings import Finding


def all_of(cluster: Cluster) -> list[Finding]:
    """Return the bad ones first, in order of dependency: fix the first one first."""
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
        triggers.authentications,
        triggers.copies,
        triggers.requests,
        scaling.scaled,
        scaling.hpas,
        scaling.answers,
        scaling.degradation,
        nodes.gpus,
        pods.images,
        pods.running,
        network.reach,
    )
    return causes.fold([finding for look in looks for finding in look(cluster)])
