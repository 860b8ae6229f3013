"""A detector to compare: a stored model with its settings, or a value of CV_MODEL.

Example:
    candidate = find(home, "yard", {"CV_PRECISION": "f32"})
    detector = candidate.load()
    candidate.next_step, candidate.way_back
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from pathlib import Path

import msgspec

from services.cv import detectors, model_spec
from services.cv.detectors import Detector
from services.cv.service import SCORE_FLOOR
from services.cv.settings import CvSettings
from shared.contract.names import TOKEN
from shared.models import measured
from shared.runtime.errors import ModelError, SettingError
from shared.runtime.settings import load
from tidegate.models import store

# The settings of cv that change what a detector finds, or how fast.
SETTINGS = ("CV_MODEL_FORMAT", "CV_DEVICE", "CV_RUNTIME", "CV_PRECISION", "CV_MIN_SCORE", "CV_INFER_THREADS")
# Those that `tidegate model add` has as options.
_OPTIONS = {
    "CV_MODEL_FORMAT": "--format",
    "CV_DEVICE": "--device",
    "CV_RUNTIME": "--runtime",
    "CV_PRECISION": "--precision",
    "CV_MIN_SCORE": "--min-score",
    "CV_INFER_THREADS": "--threads",
}


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """spec: of CV_MODEL. name: in the store; empty: not stored. settings: of SETTINGS. warning: may be empty."""

    spec: str
    name: str = ""
    settings: dict[str, str] = {}
    warning: str = ""

    @property
    def words(self) -> str:
        """The detector and its settings, for people."""
        called = f"{self.name}, {self.spec}" if self.name else self.spec
        return ", ".join([called, *(f"{name}={value}" for name, value in self.settings.items())])

    @property
    def least(self) -> float:
        """The score from which an object counts."""
        return self._values().cv_min_score

    @property
    def next_step(self) -> str:
        """The commands that make it the one of `tidegate up`."""
        if self.name:
            return f"tidegate model use {self.name}"
        options = "".join(
            f" {option} {shlex.quote(self.settings[name])}"
            for name, option in _OPTIONS.items()
            if name in self.settings
        )
        return f"tidegate model add {shlex.quote(self.spec)}{options}, then tidegate model use NAME"

    @property
    def way_back(self) -> str:
        """The command that goes back to it."""
        return f"tidegate model use {self.name}" if self.name else measured.DEFAULT

    def load(self) -> Detector:
        """Load the detector as cv does, down to scores under its minimum. Raises ModelError."""
        values = self._values()
        return detectors.load(
            self.spec,
            format=values.cv_model_format,
            device=values.cv_device,
            runtime=values.cv_runtime,
            precision=values.cv_precision,
            threads=values.cv_infer_threads,
            min_score=min(self.least, SCORE_FLOOR),
            batch_size=values.cv_batch_size,
        )

    def check(self) -> None:
        """Check its settings, files, packages and device, without loading it. Raises SettingError and ModelError."""
        values = self._values()
        model_spec.check(self.spec, values.cv_device, values.cv_runtime, values.cv_precision)

    def _values(self) -> CvSettings:
        return load(CvSettings, {"CV_MODEL": self.spec} | self.settings)


def find(home: Path, text: str, chosen: Mapping[str, str]) -> Candidate:
    """Return the detector that `text` names. home: data directory. chosen: settings that replace stored ones.

    Raises SettingError and ModelError.
    """
    if unknown := [name for name in chosen if name not in SETTINGS]:
        raise SettingError(f"{unknown[0]} can't be set for a comparison: give one of {', '.join(SETTINGS)}")
    found = Candidate(spec=text, settings=dict(chosen))
    names = measured.names(store.folder(home))
    if text in names:
        model = measured.find(store.folder(home), text)
        settings = {name: value for name, value in model.settings.items() if name in SETTINGS} | dict(chosen)
        found = Candidate(spec=model.spec, name=text, settings=settings, warning=model.changed)
    try:
        found.check()
    except ModelError as e:
        if not re.search(TOKEN, text) or text in names:
            raise
        there = (
            f"stored models are {', '.join(names)}" if names else "no model is stored yet: 'tidegate model add' does"
        )
        raise ModelError(f"{e}; {there}") from e
    return found
