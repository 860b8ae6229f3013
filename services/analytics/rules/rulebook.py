"""Every camera's rules, as KV `rules` has them now."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from services.analytics import metrics
from shared.bus.mirror import Mirror
from shared.contract import rules
from shared.contract.rules import Rules
from shared.runtime.telemetry import logger

NONE = Rules()


class Rulebook:
    """mirror: of the bucket. Unusable rules are logged once, and the previous ones stay in force."""

    def __init__(self, mirror: Mirror) -> None:
        self._mirror = mirror
        self._read: dict[str, tuple[bytes, Rules]] = {}
        self._log = logger("rules")

    def of(self, camera: str) -> Rules:
        """Return a camera's rules; empty ones if it has no usable rules."""
        return self._read[camera][1] if camera in self._read else NONE

    def has(self, camera: str) -> bool:
        """Whether the bucket has an entry for a camera."""
        return camera in self._read

    def changed(self) -> Iterator[tuple[str, Rules]]:
        """Yield (camera, its rules), for each whose rules have changed since the last call."""
        entries = self._mirror.values
        for camera in [c for c in self._read if c not in entries]:
            del self._read[camera]
            yield camera, NONE
        for camera, data in list(entries.items()):
            if camera in self._read and self._read[camera][0] == data:
                continue
            try:
                found = rules.decode(data)
            except Exception as e:  # bad rules must not affect other cameras
                metrics.RULES.inc()
                self._log.error("a camera's rules can't be used", camera=camera, error=str(e))
                self._read[camera] = (data, self.of(camera))
                continue
            self._read[camera] = (data, found)
            yield camera, found


def without_actions(found: Rules) -> Rules:
    """Return the same rules without verification and alerts."""
    return replace(found, rules=[replace(rule, verify=None, alert=None) for rule in found.rules])
