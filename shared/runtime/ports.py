"""TCP ports of loopback, for programs of ours that must be told one.

The system gives whoever asks for any port one of those that outgoing connections have too. Until the program listens
there it may be another's: then the program ends, or its clients send their passwords to whoever has it. So ports are
looked for below those, and processes that look at the same time do not find the same.
"""

from __future__ import annotations

import asyncio
import random
import socket
import sys
from collections import deque

from shared.runtime.errors import TidegateError

# Linux gives outgoing connections those from 32768 on, unless it is told otherwise.
_LOW, _HIGH = 10_000, 32_768
# What this process has found, and may not listen at yet: a name that no other process can have meanwhile.
_reserved: deque[socket.socket] = deque(maxlen=64)


def free_port(preferred: int) -> int:
    """`preferred` if nobody listens there, else another, as also for 0. Raises TidegateError where there is none."""
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
    """Have no other process look at this port. Linux alone knows such names, which go with their process."""
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
    """Whether anything on this machine listens on a TCP port of that address."""
    try:
        _, writer = await asyncio.open_connection(host, port)
    except OSError:
        return False
    writer.close()
    return True
