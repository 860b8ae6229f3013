"""A replica's detectors: the default one, and those that cameras select by name.

Example:
    models = Models(default, {"plates": plates})
    detector = models.of("gate", "plates")     # the default one if the replica has no model of this name
"""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import Counter

from services.cv.detectors import Detector
from shared.runtime.errors import ModelError
from shared.runtime.telemetry import logger

UNKNOWN = Counter(
    "tidegate_unknown_model_segments_total",
    "segments analysed by the default model, as their camera names one that CV_MODELS lacks",
)
# Log at most this many cameras and names once: any publisher of segments can invent cameras.
_MOST_LOGGED = 2000


class Models:
    """One per process. A name from a camera's entry is only looked up here: it loads nothing.

    Raises ModelError if events could not tell two detectors apart.
    """

    def __init__(self, default: Detector, named: Mapping[str, Detector] | None = None) -> None:
        self.default = default
        self._named = dict(named or {})
        self._logged: set[tuple[str, str]] = set()
        by_event: dict[str, tuple[str, Detector]] = {}
        for setting, detector in (("CV_MODEL", default), *self._named.items()):
            other, same = by_event.setdefault(detector.name, (setting, detector))
            if same is not detector:
                raise ModelError(
                    f"CV_MODELS: {setting} and {other} are both {detector.name} in events: rename the file of one"
                )

    @property
    def labels(self) -> list[str]:
        """The labels of all models."""
        return sorted({label for detector in (self.default, *self._named.values()) for label in detector.labels})

    def of(self, camera: str, name: str | None) -> Detector:
        """Return the detector of a camera that names `name`."""
        if name is None:
            return self.default
        if (found := self._named.get(name)) is None:
            self._report(camera, name)
        return found or self.default

    def _report(self, camera: str, name: str) -> None:
        UNKNOWN.inc()
        if (camera, name) not in self._logged and len(self._logged) < _MOST_LOGGED:
            self._logged.add((camera, name))
            logger("cv").warning(
                "the default model analyses a camera, as CV_MODELS lacks its model",
                camera=camera,
                model=name,
                remedy=f"add {name}=… to CV_MODELS, or: tidegate camera set {camera} --unset model",
            )
