"""The ports of a local stack's server and console: the requested one, else the usual one or a free neighbour of it.

    port, change = choose(data, None)      # 4223, "port 4222 is taken by …"

A neighbour is remembered in the data directory: clients that have its address find the server after a restart too.
"""

from __future__ import annotations

from pathlib import Path

from shared.runtime import ports
from shared.runtime.errors import SettingError

DEFAULT = 4222
FILE = "port"


def choose(data: Path, requested: int | None) -> tuple[int, str]:
    """Return the port, and a sentence if it is a new neighbour of the usual one; 0 for any is returned as it is.

    requested: None for the usual one. Raises SettingError if a requested port is taken.
    """
    if requested == 0:
        return 0, ""
    if requested is not None:
        if not ports.is_free(requested):
            raise SettingError(
                f"--port {requested}: {ports.holder(requested)} has this port already: stop it, or give another port; "
                "0 takes a free one"
            )
        return requested, ""
    usual = _remembered(data)
    if ports.is_free(usual):
        return usual, ""
    port = ports.near(usual)
    (data / FILE).write_text(f"{port}\n")
    return port, (
        f"port {usual} is taken by {ports.holder(usual)}: NATS listens on {port}, from now on; --port {DEFAULT} asks "
        "for the usual one"
    )


def choose_console(usual: int) -> tuple[int, str]:
    """Return the console's port, and a sentence if it is a neighbour of the usual one. usual: 0 for any."""
    if usual == 0 or ports.is_free(usual):
        return ports.free_port(usual), ""
    port = ports.near(usual)
    return port, (
        f"port {usual} is taken by {ports.holder(usual)}: the console listens on {port} this time; stop it, or set "
        "CONSOLE_PORT to another port"
    )


def _remembered(data: Path) -> int:
    """Return the port of the last start that had to take another one, else the usual one."""
    try:
        port = int((data / FILE).read_text())
    except (OSError, ValueError):
        return DEFAULT
    return port if 0 < port < 65536 else DEFAULT
