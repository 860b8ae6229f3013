"""A query from a trigger's metadata: the demand of a consumer's service, or the cameras of ingest.

    parse({"service": "cv", "latencyTarget": "2", "coldStart": "90", "scalerAddress": "…"})
    parse({"service": "ingest", "camerasPerReplica": "100"})
    parse_url("http://tidegate-scaler:9091/demand?service=cv&latencyTarget=2&coldStart=90")

All values are strings, as in Kubernetes; times are seconds, or have one of the units ms, s, m.
"""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Iterable, Mapping
from typing import Annotated
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec
from msgspec import Meta

from services.scaler.demand.parameters import DemandSettings
from shared.contract import catalog, names
from shared.runtime.errors import SettingError
from shared.runtime.redact import redact
from shared.runtime.telemetry import logger

# KEDA itself reads these metadata keys, and forwards them. It appends FromEnv to the key of a variable.
KEDAS = frozenset({"scalerAddress", "enableTLS", "unsafeSsl", "tlsCertFile"})
INGEST = "ingest"
# The page that a trigger of type `metrics-api` requests.
PATH = "/demand"

# The maximum keys of a query.
MOST_KEYS = 50

_NUMBER = re.compile(r"(\d+(?:\.\d+)?|\.\d+)(ms|s|m)?")
_UNITS = {None: 1.0, "ms": 0.001, "s": 1.0, "m": 60.0}
# A name becomes one token of a subject.
_NAME = re.compile(r"[^\s.*>/\\]{1,128}")


class DemandQuery(msgspec.Struct, frozen=True, kw_only=True):
    """The demand of a service for the work of a consumer. metrics_url: the source of its workers' counters.

    consumer: or several with commas, which are summed. stream: theirs, or the stream of each.
    """

    service: str
    stream: str
    consumer: str
    settings: DemandSettings = DemandSettings()
    metrics_url: str = ""


class CamerasQuery(msgspec.Struct, frozen=True, kw_only=True):
    """The demand of ingest for the enabled cameras of a bucket."""

    service: str = INGEST
    bucket: str = names.CAMERAS
    cameras_per_replica: Annotated[float, Meta(ge=0.001, le=1e9)] = 100.0


Query = DemandQuery | CamerasQuery


def _key(field: str) -> str:
    """Return the key of a field: `latencyTarget` of `latency_target_s`."""
    first, *rest = field.removesuffix("_s").split("_")
    return first + "".join(word.capitalize() for word in rest)


# Keys of the last release, each with the remedy: one that is renamed, and one that has no effect any more.
_RENAMED = {"deferBudget": "deferLimit"}
_DROPPED = {"backfillGrace": "remove it: deferred frames are backfilled in time, except the lossBudget"}

_SETTINGS = {_key(f.name): f.name for f in msgspec.structs.fields(DemandSettings)}


def parse(metadata: Mapping[str, str]) -> Query:
    """Return the query. Raises SettingError that names the key, and the remedy."""
    entries = {k: v for k, v in metadata.items() if k not in KEDAS}
    service = entries.pop("service", "")
    if not service:
        near = difflib.get_close_matches("service", entries, n=1)
        remedy = f"did you mean service by {near[0]}?" if near else "add one, such as service: cv"
        raise SettingError(f"metadata has no service: {remedy}")
    _check_name("service", service)
    _accept_former(entries)
    query = _cameras(entries) if service == INGEST else _demand(service, entries)
    if entries:
        supported = (
            ["bucket", "camerasPerReplica"] if service == INGEST else ["stream", "consumer", *_SETTINGS, "metricsUrl"]
        )
        key = min(entries)
        meant = _meant(key, supported) or f"take one of {', '.join(supported)}, or remove it"
        raise SettingError(f"metadata has the key {key}, which is not known: {meant}")
    return query


def _accept_former(entries: dict[str, str]) -> None:
    """Replace the keys of the last release, with a warning. Raises SettingError if both keys are present."""
    for former, key in _RENAMED.items():
        if former in entries:
            if key in entries:
                raise SettingError(f"metadata has the keys {former} and {key}, which are the same: remove {former}")
            entries[key] = entries.pop(former)
            _warn(former, f"write {key}, which means the same")
    for former, remedy in _DROPPED.items():
        if entries.pop(former, None) is not None:
            _warn(former, remedy)


@functools.cache
def _warn(key: str, remedy: str) -> None:
    """Log the remedy once: KEDA sends the same metadata with each query."""
    logger("scaler").warning(f"metadata has the key {key}, which the next release refuses: {remedy}")


def _meant(word: str, choices: Iterable[str]) -> str:
    """Return a question after the closest choice; empty if none is close."""
    near = difflib.get_close_matches(word, choices, n=1, cutoff=0.75)
    return f"did you mean {near[0]}?" if near else ""


def parse_url(url: str) -> Query:
    """Return the query of a `metrics-api` trigger's `url`. Raises SettingError."""
    try:
        parts = urlsplit(url)
    except ValueError as e:
        raise SettingError(f"{shown(url)} is no URL: {e}") from e
    if parts.path != PATH:
        raise SettingError(f"{shown(url)} is no page of Tidegate's scaler: its page is {PATH}")
    return parse_query(parts.query)


def shown(url: str, most: int = 500) -> str:
    """Return such a URL, or its query with the ?, for a log: without credentials, also of a URL within it.

    It is truncated to `most` characters outside of credentials.
    """
    return redact(unquote(url), most)


def parse_query(query: str) -> Query:
    """Return the query of the part of such a URL after its ?. Raises SettingError."""
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query), max_num_fields=MOST_KEYS)
    except ValueError as e:
        raise SettingError(f"the query of {PATH} can't be read ({e}): give ?service=cv&coldStart=60") from e
    metadata = dict(pairs)
    if len(metadata) < len(pairs):
        keys = [key for key, _ in pairs]
        raise SettingError(f"metadata has the key {next(k for k in keys if keys.count(k) > 1)} twice: remove one")
    return parse(metadata)


def _demand(service: str, entries: dict[str, str]) -> DemandQuery:
    stream, consumer = _work(service, entries.pop("stream", ""), entries.pop("consumer", ""))
    settings = DemandSettings(
        **{f: _field(DemandSettings, f, k, entries.pop(k)) for k, f in _SETTINGS.items() if k in entries}
    )
    return DemandQuery(
        service=service,
        stream=stream,
        consumer=consumer,
        settings=settings,
        metrics_url=_url(entries.pop("metricsUrl", "")),
    )


def _work(service: str, stream: str, consumer: str) -> tuple[str, str]:
    """Return (stream, consumer) of a query, with defaults from the catalog."""
    catalog_streams = {name: of for of, name in catalog.work_of(service)}
    consumers = _check_names("consumer", consumer or ",".join(catalog_streams) or service)
    if not (stream or catalog_streams):
        scaled = [each.name for each in catalog.services() if catalog.work_of(each.name)]
        if meant := _meant(service, [*scaled, INGEST]):
            remedy = f"{meant} A service of your own needs the key stream"
            raise SettingError(f"metadata key service is {service!r}, which is not known: {remedy}")
        raise SettingError(f"metadata has no stream: add the one that service {service} works on")
    streams = _check_names(
        "stream", stream or ",".join(catalog_streams.get(name, min(catalog_streams.values())) for name in consumers)
    )
    if len(streams) not in (1, len(consumers)):
        raise SettingError(
            f"metadata key stream names {len(streams)} streams for {len(consumers)} consumers: give one, or one "
            "for each"
        )
    of = streams[:1] if len(set(streams)) == 1 else streams
    return ",".join(of), ",".join(consumers)


def _cameras(entries: dict[str, str]) -> CamerasQuery:
    bucket = _check_name("bucket", entries.pop("bucket", names.CAMERAS))
    if bucket in (names.CREDENTIALS, names.ENDPOINT):
        raise SettingError(f"metadata key bucket is {bucket!r}, which the scaler may not read: take {names.CAMERAS}")
    key, field = "camerasPerReplica", "cameras_per_replica"
    if key not in entries:
        return CamerasQuery(bucket=bucket)
    return CamerasQuery(bucket=bucket, cameras_per_replica=_field(CamerasQuery, field, key, entries.pop(key)))


def _check_name(key: str, value: str) -> str:
    if not _NAME.fullmatch(value):
        raise SettingError(f"metadata key {key} is {value!r}: give a name without dots, spaces and wildcards")
    return value


def _check_names(key: str, value: str) -> list[str]:
    return [_check_name(key, name.strip()) for name in value.split(",")]


def _field(model: type[msgspec.Struct], field: str, key: str, value: str) -> float:
    """Return the value of a key, validated as its field of `model`. Fields that end in `_s` are times."""
    time = field.endswith("_s")
    match = _NUMBER.fullmatch(value.strip())
    if not match or (match[2] and not time):
        example = 'seconds, such as "2" or "1.5s"' if time else 'a number, such as "0.2"'
        raise SettingError(f"metadata key {key} is {value!r}: give {example}")
    number = float(match[1]) * _UNITS[match[2]]
    try:
        msgspec.convert({field: number}, model)
    except msgspec.ValidationError as e:
        raise SettingError(f"metadata key {key} is {value!r}: {str(e).partition(' - at')[0]}") from e
    return number


def _url(value: str) -> str:
    if not value:
        return ""
    try:
        parts = urlsplit(value)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        usable = False
    if not usable:
        raise SettingError("metadata key metricsUrl is no URL of a metrics page: give http://host:port/path")
    if "@" in parts.netloc:
        raise SettingError("metadata key metricsUrl holds credentials, which anyone may read there: remove them")
    return value
