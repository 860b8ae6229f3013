"""Environment variables into frozen structs, with errors that name the variable.

Example:
    class Settings(msgspec.Struct, frozen=True):
        nats_url: Annotated[str, Meta(description="server to connect to")] = "nats://127.0.0.1:4222"

    settings = load(Settings)          # reads NATS_URL
    print(describe(Settings))          # what `python -m services.x --help` prints
"""

from __future__ import annotations

import difflib
import math
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta

from shared.runtime.errors import SettingError
from shared.runtime.redact import redact

T = TypeVar("T", bound=msgspec.Struct)

# The minimum similarity, of 1, of a misspelt name: METRICS_PROT matches, NUM_CPUS (for NUM_GPUS) does not.
NEAR = 0.9
LONGEST_SHOWN = 60
# By a setting's former name, which is read until the next release: the present one.
FORMER = {
    "ANALYTICS_SETTLE_S": "ANALYTICS_SECOND_PASS_WAIT_S",
    "CV_LATENCY_TARGET": "CV_LATENCY_TARGET_S",
    "CV_WATCH_S": "CV_STATIC_SCENE_REFRESH_S",
    "EMBED_LATENCY_TARGET": "EMBED_LATENCY_TARGET_S",
    "VLM_COLD_S": "VLM_START_TIMEOUT_S",
    "VLM_LATENCY_TARGET": "VLM_LATENCY_TARGET_S",
    "VLM_PATIENCE_S": "VLM_OUTAGE_TIMEOUT_S",
}
# Beyond this, a camera whose ingest died would be missed for longer than its video is buffered.
MOST_LEASE_S = 60.0


class BusSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of every service: the server, and monitoring."""

    nats_url: Annotated[str, Meta(description="server, or several with commas")] = "nats://127.0.0.1:4222"
    nats_user: Annotated[str, Meta(description="user name, where the server asks for one")] = ""
    nats_password: Annotated[str, Meta(description="its password; a file is better")] = ""
    nats_password_file: Annotated[
        str, Meta(description="path of a file with the password, which is read at each connection: it may change")
    ] = ""
    nats_creds: Annotated[str, Meta(description="path of a .creds file, instead of user and password")] = ""
    nats_ca: Annotated[str, Meta(description="path of the CA certificate that signs the server's; asks for TLS")] = ""
    nats_cert: Annotated[str, Meta(description="path of a client certificate, for a server that asks for one")] = ""
    nats_key: Annotated[str, Meta(description="path of its private key")] = ""
    nats_msg_id_key: Annotated[
        str,
        Meta(
            description="secret that makes Nats-Msg-Id, the same for all replicas; empty: the file "
            "NATS_PASSWORD_FILE.msg-id-key where there is one, else the password or .creds"
        ),
    ] = ""
    lease_s: Annotated[
        float,
        Meta(
            ge=2,
            le=MOST_LEASE_S,
            description="a server that is silent for so long is left, and the cameras of a process that is; more where "
            "the network is slow",
        ),
    ] = 5.0
    metrics_host: Annotated[str, Meta(description="address of /metrics, /healthz, /readyz")] = "127.0.0.1"
    metrics_port: Annotated[int, Meta(ge=0, le=65535, description="their port; 0 takes a free one")] = 0
    metrics_cert: Annotated[str, Meta(description="path of a certificate chain: they are served by TLS")] = ""
    metrics_key: Annotated[str, Meta(description="path of its private key")] = ""
    metrics_client_ca: Annotated[
        str, Meta(description="path of a CA: /metrics only for who shows a certificate of it, the others for everyone")
    ] = ""
    metrics_targets: Annotated[
        str,
        Meta(description="folder for a file that tells Prometheus where they are (file_sd_configs); empty: none"),
    ] = ""
    log_format: Annotated[str, Meta(pattern="^(text|json)$", description="text or json")] = "text"
    log_level: Annotated[
        str, Meta(pattern="^(debug|info|warning|error)$", description="debug, info, warning or error")
    ] = "info"

    def check(self) -> None:
        """Check what only the machine of the process knows, such as files, and load nothing. Raises TidegateError."""


def mistakes(cls: type[msgspec.Struct], environ: Mapping[str, str]) -> dict[str, str]:
    """Return a sentence for each variable of `cls` that `load` would refuse by itself."""
    found = {}
    hints = get_type_hints(cls, include_extras=True)
    for field in msgspec.structs.fields(cls):
        try:
            _value(field, hints[field.name], environ)
        except SettingError as e:
            found[field.name.upper()] = str(e)
    return found


def load(cls: type[T], environ: Mapping[str, str] | None = None) -> T:
    """Read every field of `cls` from the variable with its name in capitals.

    `<NAME>_FILE` gives a file to read the value from, for secrets; with a `-` before its path it may be missing, as in
    systemd's EnvironmentFile. An empty variable counts as unset. A former name is
    read if the present one is unset. Raises SettingError naming the variable, what it holds (never for secrets) and
    what it should hold.
    """
    environ = os.environ if environ is None else environ
    values: dict[str, Any] = {}
    hints = get_type_hints(cls, include_extras=True)
    for field in msgspec.structs.fields(cls):
        value = _value(field, hints[field.name], environ)
        if value is not None:
            values[field.name] = value
    return cls(**values)


def _value(field: msgspec.structs.FieldInfo, hint: Any, environ: Mapping[str, str]) -> Any:
    """Return the value of one setting; None if it is unset and has a default. Raises SettingError."""
    name = field.name.upper()
    raw = value_of(name, environ)
    if not raw:
        if field.required:
            raise SettingError(f"{name} is not set: {_meta(hint).description or 'needed'}")
        return None
    try:
        value = msgspec.convert(raw, hint, strict=False)
        if isinstance(value, float) and not math.isfinite(value):
            raise msgspec.ValidationError("not finite")
    except msgspec.ValidationError as e:
        secret = any(word in field.name for word in ("password", "key", "secret"))
        repeated = "…" if secret else shown(raw)
        raise SettingError(f"{name}={repeated} can't be used: give {wanted(hint)}") from e
    return value


def value_of(name: str, environ: Mapping[str, str]) -> str:
    """Return the text of a setting, also by its file or its former names; empty if it is unset. Raises SettingError."""
    for each in (name, *(former for former, present in FORMER.items() if present == name)):
        if raw := environ.get(each, ""):
            return raw
        if path := environ.get(f"{each}_FILE", ""):
            try:
                return Path(path.removeprefix("-")).read_text().strip()
            except OSError as e:
                if path.startswith("-") and isinstance(e, FileNotFoundError):
                    continue
                raise SettingError(f"{each}_FILE={path} can't be read: {e.strerror}") from e
            except ValueError:  # its text holds the file's content
                raise SettingError(f"{each}_FILE={path} can't be read: give the path of a file of text") from None
    return ""


def renamed(cls: type[msgspec.Struct], environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that are set by a former name of a setting of `cls`, with the present one."""
    variables = {field.name.upper() for field in msgspec.structs.fields(cls)}
    return {f: name for f, name in FORMER.items() if name in variables and (environ.get(f) or environ.get(f"{f}_FILE"))}


def misspelt(cls: type[msgspec.Struct], environ: Mapping[str, str]) -> dict[str, str]:
    """Return unread variables that resemble one of `cls`, with that one.

    Others are ignored: an environment is full of foreign variables, such as Kubernetes' own CV_PORT.
    """
    variables = {field.name.upper() for field in msgspec.structs.fields(cls)}
    found = {}
    readable = variables | {former for former, name in FORMER.items() if name in variables}
    for name in sorted(set(environ) - {n + end for n in readable for end in ("", "_FILE")}):
        kin = [k for k in variables if k.partition("_")[0] == name.partition("_")[0]]
        if near := difflib.get_close_matches(name, kin, 1, NEAR):
            found[name] = near[0]
    return found


def describe(cls: type[msgspec.Struct]) -> str:
    """Return a table of the variables of `cls`, their defaults and meaning."""
    hints = get_type_hints(cls, include_extras=True)
    rows = []
    for field in msgspec.structs.fields(cls):
        default = "" if field.required else str(field.default)
        rows.append((field.name.upper(), default, _meta(hints[field.name]).description or ""))
    width = max(len(r[0]) for r in rows)
    middle = max(len(r[1]) for r in rows)
    return "\n".join(f"  {n:<{width}}  {d:<{middle}}  {text}" for n, d, text in rows)


def from_environment(cls: type[T], module: str, purpose: str) -> T:
    """Return the settings of `python -m <module>`; print them for `--help` and exit, or exit 2 with the error."""
    if {"-h", "--help"} & set(sys.argv[1:]):
        _print(f"usage: python -m {module}\n\n{purpose}\n\nset by the environment:\n{describe(cls)}")
        raise SystemExit(0)
    service = module.rpartition(".")[2]
    for name, present in renamed(cls, os.environ).items():
        print(f"{service}: {name} is now {present}: rename it before the next release", file=sys.stderr)
    for name, meant in misspelt(cls, os.environ).items():
        print(f"{service}: nothing reads {name}: did you mean {meant}?", file=sys.stderr)
    try:
        return load(cls)
    except SettingError as e:
        print(f"{service}: {e}", file=sys.stderr)
        raise SystemExit(2) from None


def _print(text: str) -> None:
    """Print, also to a reader such as `head` that closes early."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        # Python would flush once more as it exits, and fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def shown(value: object) -> str:
    """Return a value as an error repeats it: a long text is cut."""
    if isinstance(value, float):
        return f"{value:g}"
    return repr(redact(value, LONGEST_SHOWN) if isinstance(value, str) else value)


def wanted(hint: Any) -> str:
    """Describe the values of a setting with this annotated type. An optional one is `… | None`."""
    if get_origin(hint) in (Union, UnionType):
        hint = get_args(hint)[0]
    meta = _meta(hint)
    kind = get_args(hint)[0] if get_origin(hint) is Annotated else hint
    if get_origin(kind) is Literal:
        words = " or ".join(repr(value) for value in get_args(kind))
    elif meta.pattern:
        words = f"what matches {meta.pattern}"
    else:
        words = {int: "a whole number", float: "a number"}.get(kind, "a text")
        bounds = {"from": meta.ge, "over": meta.gt, "up to": meta.le, "under": meta.lt}
        bounds |= {"of at least": meta.min_length, "of at most": meta.max_length}
        words += "".join(f" {text} {bound:g}" for text, bound in bounds.items() if bound is not None)
        words += " characters" if meta.min_length or meta.max_length else ""
    return f"{words} ({meta.description})" if meta.description else words


def _meta(hint: Any) -> Meta:
    for extra in getattr(hint, "__metadata__", ()):
        if isinstance(extra, Meta):
            return extra
    return Meta()
