"""Loads a model by the module that can run it, and reports the missing package if that can't be imported.

A service has a package of backends. Each is a module with a function `load(name, options)`, imported only for a model
that needs it: its dependencies are one of our extras, and large.
"""

from __future__ import annotations

import importlib
from typing import Annotated, Any, NamedTuple, TypeVar

import msgspec
from msgspec import Meta

from shared.models import devices
from shared.runtime import install
from shared.runtime.errors import ModelError


class ModelOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Options of a model's run.

    device: as `devices.PATTERN` allows; a backend has some of them. threads: of the CPU, that it may occupy.
    batch_size: maximum images per call, so that the model can warm up for them.
    """

    device: Annotated[str, Meta(pattern=devices.PATTERN)] = "cpu"
    threads: Annotated[int, Meta(ge=1)] = 1
    batch_size: Annotated[int, Meta(ge=1)] = 8


class Backend(NamedTuple):
    """module: its name in the service's package. extra: our extra that installs the module's imports."""

    module: str
    extra: str


O = TypeVar("O", bound=ModelOptions)  # noqa: E741 - options


def options(kind: type[O], values: dict[str, Any]) -> O:
    """Convert `values` to options of that kind. Raises ModelError naming the unusable one."""
    try:
        return msgspec.convert(values, kind)
    except msgspec.ValidationError as e:
        raise ModelError(f"the model can't run with these options: {e}") from e


def load(package: str, backend: Backend, spec: str, name: str, options: ModelOptions) -> Any:
    """Load the model `name` by a module of `package`. Raises ModelError. spec: as in the setting."""
    return imported(package, backend, spec).load(name, options)


def imported(package: str, backend: Backend, spec: str) -> Any:
    """Return the backend's module. Raises ModelError naming the extra if it can't be imported."""
    try:
        return importlib.import_module(f"{package}.{backend.module}")
    except ImportError as e:
        remedy = install.command(backend.extra)
        raise ModelError(f"model {spec!r} needs what is not installed ({e}): {remedy}") from e
