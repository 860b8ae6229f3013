"""Memory that nats-server needs for clients that do not read. Pure.

The server buffers up to `max_pending` bytes for each connection, and then closes it. So an attacker with one stolen
password can make it buffer that much for each connection of the identity. This does not bound direct gets: the server
reads each into memory first (nats-server 2.15.1).
"""

from __future__ import annotations

MB = 1024 * 1024
GB = 1024 * MB

# A segment may be a whole GOP: the server's default of 1 MB would refuse 2 s of 4 Mbit/s.
MAX_PAYLOAD = 8 * MB
# A pull asks for one largest message at a time: see shared/bus/pull.py.
MAX_PENDING = 2 * MAX_PAYLOAD
# Maximum connections of one identity: eight times the replicas that the ScaledObjects allow.
CONNECTIONS = 64
# The base is for streams and their caches; the overhead is the measured resident memory per pending byte.
_BASE = 500 * MB
_OVERHEAD = 1.3


def needed(connections: int = CONNECTIONS, max_pending: int = MAX_PENDING) -> int:
    """Return the bytes that a server needs, so that the connections of one identity do not exhaust it."""
    return _BASE + int(connections * max_pending * _OVERHEAD)
