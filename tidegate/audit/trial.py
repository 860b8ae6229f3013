"""The simulation of a candidate on a trace. Pure.

Example:
    result = simulate(candidate, trace, load)
    result.replica_hours, result.window_attainment, result.never_share
"""

from __future__ import annotations

import msgspec

from tidegate.audit.candidates import Candidate
from tidegate.keda.scaledobject import parse
from tidegate.local.scaling import scaled_objects
from tidegate.simulation.compare import initial
from tidegate.simulation.engine import Policy, Result, Workload, run
from tidegate.simulation.policies import KedaDemand, KedaLag
from tidegate.simulation.queue import Elastic
from tidegate.simulation.trace import Trace


def simulate(candidate: Candidate, trace: Trace, load: Workload) -> Result:
    """Simulate a ScaledObject on a trace. Its manifest alone sets the bounds of replicas."""
    scaled = parse(candidate.text, candidate.name)
    load = msgspec.structs.replace(
        load,
        min_replicas=scaled.spec.min_replica_count,
        max_replicas=scaled.spec.max_replica_count,
        elastic=Elastic() if candidate.degradable else None,
    )
    queries = scaled_objects.demand_queries(scaled)
    policy: Policy = KedaLag(candidate.name, scaled)
    if queries:
        policy = KedaDemand(candidate.name, scaled, queries[0].settings, retention_s=load.max_age_s)
    return run(policy, trace, load, initial=initial(trace, load))
