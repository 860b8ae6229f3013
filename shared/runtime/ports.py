"""TCP ports of loopback, for programs of ours that need a given one.

The system's answer to a request for any port is one that outgoing connections use too. Until the program listens there,
another process may take it: then the program ends, or its clients send their passwords to that process. So the search
is below those ports, and concurrent searches find different ones.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import sys
from collections import deque
from pathlib import Path

from shared.runtime.errors import TidegateError

# Linux gives outgoing connections ports from 32768 on, by default.
_LOW, _HIGH = 10_000, 32_768
_NEIGHBOURS = 16
# The state of a listening socket in the kernel's table.
_LISTENING = "0A"
# The ports that this process found, and may not listen at yet: names that no other process can have meanwhile.
_reserved: deque[socket.socket] = deque(maxlen=64)


def free_port(preferred: int) -> int:
    """Return `preferred` if it is free, else another, also for 0. Raises TidegateError if there is none."""
    if preferred and is_free(preferred):
        return preferred
    for port in random.sample(range(_LOW, _HIGH), k=1000):
        if _reserve(port) and is_free(port):
            return port
    raise TidegateError(f"no TCP port from {_LOW} to {_HIGH - 1} is free on 127.0.0.1: end what listens on them")


def near(port: int) -> int:
    """Return a free port among the next ones, else any. Raises TidegateError if there is none."""
    for other in range(port + 1, min(port + 1 + _NEIGHBOURS, _HIGH)):
        if _reserve(other) and is_free(other):
            return other
    return free_port(0)


def holder(port: int) -> str:
    """Return the program that listens on a TCP port, such as `nats-server, process 812`, as far as we may see it."""
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError):
            rows = [line.split() for line in Path(table).read_text().splitlines()[1:]]
            inodes |= {row[9] for row in rows if row[3] == _LISTENING and int(row[1].rpartition(":")[2], 16) == port}
    sockets = {f"socket:[{inode}]" for inode in inodes}
    for folder in Path("/proc").glob("[0-9]*/fd"):
        with contextlib.suppress(OSError):
            if any(str(fd.readlink()) in sockets for fd in folder.iterdir()):
                return f"{(folder.parent / 'comm').read_text().strip()}, process {folder.parent.name}"
    return "another program, or a rule of the system,"


def is_free(port: int) -> bool:
    """Return whether a program can listen on this port of loopback."""
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
