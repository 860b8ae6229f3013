"""The settings of all services that `tidegate up` is going to start, checked before anything starts.

Example:
    check(services, data)      # raises SettingError with all mistakes at once
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import msgspec

from shared.contract.catalog import Service
from shared.contract.topology import TopologySettings
from shared.runtime import settings
from shared.runtime.errors import SettingError, TidegateError
from shared.runtime.settings import BusSettings
from tidegate.local.encryption import StoreSettings
from tidegate.local.stack import settings_of

# These are the stack's own for each process.
_OURS = ("NATS_", "METRICS_PORT", "METRICS_TARGETS")


def check(
    services: Iterable[Service], data: Path, additions: Mapping[str, Mapping[str, str]] | None = None
) -> list[str]:
    """Return warnings, such as on a misspelt variable. additions: to the environment of services, by their names.

    Raises SettingError with every setting that can't be used, and what to give.
    """
    # Services share settings. A set would lose the order.
    mistakes: dict[str, None] = dict.fromkeys(_own_mistakes())
    structs: set[type[msgspec.Struct]] = {BusSettings, TopologySettings, StoreSettings}
    for service in services:
        environ = {**_without_ours(os.environ), **settings_of(service, data), "REPLICA": f"{service.name}-0"}
        environ |= (additions or {}).get(service.name, {})
        for struct in structs_of(service.module):
            structs.add(struct)
            mistakes |= dict.fromkeys(_mistakes(struct, environ))
    if len(mistakes) == 1:
        raise SettingError(f"{next(iter(mistakes))}. Nothing was started")
    if mistakes:
        raise SettingError("\n  ".join(("these settings can't be used, and nothing was started:", *mistakes)))
    return sorted(set(_warnings(structs)))


def structs_of(module: str) -> list[type[BusSettings]]:
    """Return the settings of a service by the name of its module; none if it has no module `settings` there."""
    try:
        loaded = importlib.import_module(f"{module}.settings")
    except ModuleNotFoundError:
        return []
    found = (each for each in vars(loaded).values() if isinstance(each, type) and issubclass(each, BusSettings))
    return [each for each in found if each.__module__ == loaded.__name__]


def _own_mistakes() -> Iterator[str]:
    for struct in (BusSettings, TopologySettings, StoreSettings):
        yield from _mistakes(struct, _without_ours(os.environ))


def _without_ours(environ: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environ.items() if not name.startswith(_OURS)}


def _mistakes(struct: type[msgspec.Struct], environ: Mapping[str, str]) -> Iterator[str]:
    """Yield what is wrong with each setting, and then with the others together."""
    found = settings.mistakes(struct, environ)
    yield from found.values()
    if any(field.required and field.name.upper() in found for field in msgspec.structs.fields(struct)):
        return
    wrong = {name + end for name in found for end in ("", "_FILE")}
    try:
        values = settings.load(struct, {name: value for name, value in environ.items() if name not in wrong})
        if isinstance(values, BusSettings):
            values.check()
    except TidegateError as e:
        yield str(e)


def _warnings(structs: Iterable[type[msgspec.Struct]]) -> Iterator[str]:
    """Yield variables that nothing reads, or by a former name."""
    structs = list(structs)
    readable = {field.name.upper() for struct in structs for field in msgspec.structs.fields(struct)}
    for struct in structs:
        for name, present in settings.renamed(struct, os.environ).items():
            yield f"{name} is now {present}: rename it before the next release"
        for name, meant in settings.misspelt(struct, os.environ).items():
            if name.removesuffix("_FILE") not in readable:
                yield f"nothing reads {name}: did you mean {meant}?"
