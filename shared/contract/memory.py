"""Memory that nats-server needs for clients that do not read. Pure.

The server keeps up to `max_pending` bytes for each connection, and then closes it. So the connections of one identity,
whose password may be stolen, times that is what one attacker can make it hold. It does not bound direct gets: those are
read into memory first, for each connection that asks (nats-server 2.15.1).
"""

from __future__ import annotations

MB = 1024 * 1024

# A segment may be a whole GOP: the server's default of 1 MB would refuse 2 s of 4 Mbit/s.
MAX_PAYLOAD = 8 * MB
# A pull asks for one largest message at a time: see shared/bus/pull.py.
MAX_PENDING = 2 * MAX_PAYLOAD
# Maximum connections of one identity: eight times the replicas that the ScaledObjects allow.
CONNECTIONS = 64
# For streams and their caches, and how much more than the pending bytes was seen to be resident.
_BASE = 500 * MB
_OVERHEAD = 1.3


def needed(connections: int = CONNECTIONS, max_pending: int = MAX_PENDING) -> int:
    """Return the bytes that a server needs, so that the connections of one identity do not exhaust it."""
    return _BASE + int(connections * max_pending * _OVERHEAD)
