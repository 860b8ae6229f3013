"""Every environment variable that a process reads: from the settings' structs."""

from __future__ import annotations

import importlib
import pkgutil

import msgspec
from msgspec import inspect

import services
from shared.contract.topology import TopologySettings
from shared.runtime.settings import FORMER, BusSettings
from tidegate.local.encryption import StoreSettings
from tidegate.local.logs import LogSettings
from tools.reference import structs
from tools.reference.markdown import code, page, table

SETUP, UP = "tidegate setup", "tidegate up"

INTRO = """Settings are environment variables. `NAME_FILE` names a file to read the value from, for secrets; after a
`-`, as in `NAME_FILE=-/run/secrets/name`, it may be missing. An empty variable counts as unset. A value that can't be
used ends the process with exit code 2 and a sentence that names the variable. `python -m services.cv --help` prints the
same table for one service."""

OTHERS = """Three variables are read elsewhere: `TIDEGATE_DATA` (the data directory of `tidegate up`, by default
`~/.tidegate`), `TIDEGATE_CACHE` (where compiled models are kept, by default `~/.cache/tidegate`), and
`OTEL_EXPORTER_OTLP_ENDPOINT` (where spans go, with the extra `otel`)."""


RENAMED = """Until the next release a process reads these too, and warns. If both are set, the present one counts."""


def text() -> str:
    """Return the page."""
    blocks = [INTRO, "## Every service", _table(BusSettings, frozenset())]
    for name, struct in found().items():
        blocks += [f"## {name}", f"`python -m services.{name}` reads these too:", _table(struct, _names(BusSettings))]
    blocks += [f"## {SETUP}", "Limits that the streams are given:", _table(TopologySettings, frozenset())]
    blocks += [f"## {UP}", "These limits too, and how its server stores:", _table(StoreSettings, frozenset())]
    blocks += ["How long the logs of its processes get:", _table(LogSettings, frozenset())]
    renamed = table(("former name", "name"), [(code(former), code(name)) for former, name in FORMER.items()])
    return page("Settings", *blocks, "## Others", OTHERS, "## Former names", RENAMED, renamed)


def found() -> dict[str, type[BusSettings]]:
    """Return the settings' struct of each service, by the service's name."""
    out = {}
    for module in pkgutil.iter_modules(services.__path__):
        if not module.ispkg:
            continue
        loaded = importlib.import_module(f"services.{module.name}.settings")
        (out[module.name],) = [
            each
            for each in vars(loaded).values()
            if isinstance(each, type) and issubclass(each, BusSettings) and each.__module__ == loaded.__name__
        ]
    return out


def _names(struct: type[msgspec.Struct]) -> frozenset[str]:
    return frozenset(struct.__struct_fields__)


def _table(struct: type[msgspec.Struct], without: frozenset[str]) -> str:
    info = inspect.type_info(struct)
    assert isinstance(info, inspect.StructType)
    rows = []
    for field in info.fields:
        if field.name in without:
            continue
        default = "needed" if field.required else code(_shown(field.default))
        rows.append((code(field.name.upper()), default, structs.words(field.type), structs.described(field.type)))
    return table(("variable", "default", "takes", "means"), rows)


def _shown(value: object) -> str:
    return f"{value:.12g}" if isinstance(value, float) else str(value)
