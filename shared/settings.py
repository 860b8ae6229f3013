"""Environment variables into frozen structs, with errors that name the variable.

class Settings(msgspec.Struct, frozen=True):
    nats_url: Annotated[str, Meta(description="server to connect to")] = "nats://127.0.0.1:4222"

settings = load(Settings)          # reads NATS_URL
print(describe(Settings))          # what `python -m services.x --help` prints
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_type_hints

import msgspec
from msgspec import Meta

from shared.errors import SettingError

T = TypeVar("T", bound=msgspec.Struct)

Positive = Annotated[float, Meta(gt=0)]


class BusSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What every service reads: the server, and how to be observed."""

    nats_url: Annotated[str, Meta(description="server, or several with commas")] = "nats://127.0.0.1:4222"
    nats_user: Annotated[str, Meta(description="user name, where the server asks for one")] = ""
    nats_password: Annotated[str, Meta(description="password; NATS_PASSWORD_FILE reads it from a file")] = ""
    nats_creds: Annotated[str, Meta(description="path of a .creds file, instead of user and password")] = ""
    nats_ca: Annotated[str, Meta(description="path of the CA certificate that signs the server's")] = ""
    metrics_host: Annotated[str, Meta(description="address of /metrics, /healthz, /readyz")] = "127.0.0.1"
    metrics_port: Annotated[int, Meta(ge=0, le=65535, description="their port; 0 takes a free one")] = 0
    log_format: Annotated[str, Meta(pattern="^(text|json)$", description="text or json")] = "text"
    log_level: Annotated[
        str, Meta(pattern="^(debug|info|warning|error)$", description="debug, info, warning or error")
    ] = "info"


def load(cls: type[T], environ: Mapping[str, str] | None = None) -> T:
    """Read every field of `cls` from the variable of its name in capitals.

    `<NAME>_FILE` gives a file to read the value from, for secrets. An empty variable counts as unset.
    Raises SettingError naming the variable, what it holds (never for secrets) and what it should hold.
    """
    environ = os.environ if environ is None else environ
    values: dict[str, Any] = {}
    hints = get_type_hints(cls, include_extras=True)
    for field in msgspec.structs.fields(cls):
        name = field.name.upper()
        raw = environ.get(name, "")
        if not raw and (path := environ.get(f"{name}_FILE", "")):
            try:
                raw = Path(path).read_text().strip()
            except OSError as e:
                raise SettingError(f"{name}_FILE={path} can't be read: {e.strerror}") from e
        if not raw:
            if field.required:
                raise SettingError(f"{name} is not set: {_meta(hints[field.name]).description or 'needed'}")
            continue
        try:
            values[field.name] = msgspec.convert(raw, hints[field.name], strict=False)
        except msgspec.ValidationError as e:
            secret = "password" in field.name or "key" in field.name
            raise SettingError(f"{name}={'…' if secret else raw!r} can't be used: {e}".replace(" - at `$`", "")) from e
    return cls(**values)


def describe(cls: type[msgspec.Struct]) -> str:
    """A table of the variables of `cls`, their defaults and meaning."""
    hints = get_type_hints(cls, include_extras=True)
    rows = []
    for field in msgspec.structs.fields(cls):
        default = "" if field.required else str(field.default)
        rows.append((field.name.upper(), default, _meta(hints[field.name]).description or ""))
    width = max(len(r[0]) for r in rows)
    middle = max(len(r[1]) for r in rows)
    return "\n".join(f"  {n:<{width}}  {d:<{middle}}  {text}" for n, d, text in rows)


def from_environment(cls: type[T], service: str, purpose: str) -> T:
    """Settings of a service's process; prints them for `--help` and exits, or exits 2 with the error."""
    if {"-h", "--help"} & set(sys.argv[1:]):
        print(f"usage: python -m services.{service}\n\n{purpose}\n\nset by the environment:\n{describe(cls)}")
        raise SystemExit(0)
    try:
        return load(cls)
    except SettingError as e:
        print(f"{service}: {e}", file=sys.stderr)
        raise SystemExit(2) from None


def _meta(hint: Any) -> Meta:
    for extra in getattr(hint, "__metadata__", ()):
        if isinstance(extra, Meta):
            return extra
    return Meta()
