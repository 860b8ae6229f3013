"""TCP ports of loopback, for programs of ours that need a given one.

The system's answer to a request for any port is one that outgoing connections use too. Until the program listens there,
another process may take it: then the program ends, or its clients send their passwords to that process. So the search
is below those ports, and concurrent searches find different ones.
"""

from __future__ import annotations

import asyncio
import random
import socket
import sys
from collections import deque

from shared.runtime.errors import TidegateError

# Linux gives outgoing connections ports from 32768 on, by default.
_LOW, _HIGH = 10_000, 32_768
# The ports that this process found, and may not listen at yet: names that no other process can have meanwhile.
_reserved: deque[socket.socket] = deque(maxlen=64)


def free_port(preferred: int) -> int:
    """Return `preferred` if it is free, else another, also for 0. Raises TidegateError if there is none."""
    if preferred and _is_free(preferred):
        return preferred
    for port in random.sample(range(_LOW, _HIGH), k=1000):
        if _reserve(port) and _is_free(port):
            return port
    raise TidegateError(f"no TCP port from {_LOW} to {_HIGH - 1} is free on 127.0.0.1: end what listens on them")


def _is_free(port: int) -> bool:
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _reserve(port: int) -> bool:
    """Stop other processes from probing this port. Only Linux has such names, which end with their process."""
    if sys.platform != "linux":
        return True
    s = socket.socket(socket.AF_UNIX)
    try:
        s.bind(f"\0tidegate/port/{port}")
    except OSError:
        s.close()
        return False
    _reserved.append(s)
    return True


async def takes_connections(port: int, host: str = "127.0.0.1") -> bool:
    """Return whether any process on this machine listens on a TCP port of that address."""
    try:
        _, writer = await asyncio.open_connection(host, port)
    except OSError:
        return False
    writer.close()
    return True
