"""The measured models of a data directory: those that `tidegate up` runs, and how.

Example:
    measured.use(folder(data), "yard")
    chosen(data, os.environ).settings      # {"CV_MODEL": "/models/yard.onnx", ...}
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from services.cv import model_names, model_spec
from shared.models import measured
from shared.models.measured import DEFAULT
from shared.runtime.errors import SettingError
from shared.runtime.settings import value_of


class Chosen(NamedTuple):
    """settings: variables that cv gets from measured models. sentence, warning: for people; may be empty."""

    settings: dict[str, str]
    sentence: str = ""
    warning: str = ""


def chosen(data: Path, environ: Mapping[str, str]) -> Chosen:
    """Return how cv runs the active model, and those that CV_MODELS gives by their names alone.

    CV_MODEL in the environment has priority over the active model, and each other variable over its own. Raises
    SettingError if a file of a model is missing or none has such a name, ModelError if one needs a package.
    """
    active, text = _active(data, environ), value_of(model_names.SETTING, environ)
    parts = dict(model_names.parts(text))
    try:
        models = {name: measured.find(folder(data), name) for name, spec in parts.items() if not spec}
    except SettingError as e:
        raise SettingError(f"{model_names.SETTING}: {e}; or give <name>=<model>") from e
    if not models:
        return active
    resolved = ", ".join(f"{name}={spec or models[name].spec}" for name, spec in parts.items())
    warnings = dict.fromkeys(filter(None, (active.warning, *(model.changed for model in models.values()))))
    return active._replace(settings=active.settings | {model_names.SETTING: resolved}, warning="; ".join(warnings))


def _active(data: Path, environ: Mapping[str, str]) -> Chosen:
    """Return how cv runs the active model. Raises SettingError, ModelError."""
    model = measured.active(folder(data))
    if model is None:
        return Chosen({})
    if own := value_of("CV_MODEL", environ):
        return Chosen({}, f"CV_MODEL={own} is set: the active model {model.name} is not used")
    changed = model.changed
    settings = {name: value for name, value in model.settings.items() if not value_of(name, environ)}
    device, runtime, precision = (
        settings.get(name) or value_of(name, environ) or "" for name in ("CV_DEVICE", "CV_RUNTIME", "CV_PRECISION")
    )
    model_spec.check(model.spec, device or "cpu", runtime, precision)
    return Chosen(settings, f"detector {model.name}, {model.spec}: '{DEFAULT}' goes back", changed)


def folder(data: Path) -> Path:
    """Return the folder of the measured models in a data directory."""
    return data / measured.FOLDER
