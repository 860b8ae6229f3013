"""The address of a model on an inference server. Pure.

Example:
    parse("triton://gpu-1:8001/yolo11?version=2").model      # "yolo11"
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qsl, urlsplit

from shared.runtime.errors import ModelError

FORM = "triton://<host>:<port>/<model>[?version=<n>&file=<exported file>&tls=true]"
_OPTIONS = frozenset({"version", "file", "tls"})


class Address(NamedTuple):
    """target: host:port of gRPC. version: empty for the server's choice. file: labels and configuration next to it are
    read, where the exported file itself need not be; None if the server says all.
    """

    target: str
    model: str
    version: str
    file: Path | None
    tls: bool


def parse(spec: str) -> Address:
    """Return the address in a spec. Raises ModelError."""
    url = urlsplit(spec)
    try:
        port = url.port
    except ValueError:
        port = None
    model, options = url.path.strip("/"), dict(parse_qsl(url.query, keep_blank_values=True))
    if url.username is not None or url.password is not None:
        raise ModelError(f"an address has no user or password: give {FORM}")
    if not url.hostname or not port or not model or "/" in model or url.fragment:
        raise ModelError(f"{spec} is no address of a model: give {FORM}")
    if unknown := sorted(options.keys() - _OPTIONS):
        raise ModelError(f"{spec} has an option {unknown[0]!r}: there are {', '.join(sorted(_OPTIONS))}")
    if options.get("tls", "false") not in ("true", "false"):
        raise ModelError(f"{spec}: tls is true or false")
    file = Path(options["file"]) if options.get("file") else None
    host = f"[{url.hostname}]" if ":" in url.hostname else url.hostname
    return Address(f"{host}:{port}", model, options.get("version", ""), file, options.get("tls") == "true")
