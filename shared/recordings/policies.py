"""The recording policy of each camera, from the bucket `recordings`."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from shared.contract.reading.missing import Unread
from shared.recordings.policy import EffectivePolicy, Mask, Policy, camera_key, nearest
from shared.runtime.telemetry import logger


class Policies:
    """values: of the bucket, which may change at any time."""

    def __init__(self, values: Mapping[str, bytes]) -> None:
        self._values = values
        self._read: dict[str, tuple[bytes, Policy | None]] = {}
        self._log = logger("recordings")

    def of(self, camera: str) -> EffectivePolicy:
        """Return a camera's effective policy. An entry that can't be read sets nothing."""
        return nearest(camera, {key: policy for key in self._values if (policy := self._policy(key))})

    def masks(self, camera: str) -> tuple[Mask, ...]:
        """Return a camera's masks. Raises Unread if its entry can't be read."""
        key = camera_key(camera)
        if key in self._values and self._policy(key) is None:
            raise Unread(
                f"the policy of {camera} can't be read, and may have masks: run 'tidegate recordings unset {camera}', "
                "and set it again"
            )
        return self.of(camera).masks

    def _policy(self, key: str) -> Policy | None:
        value = self._values[key]
        cached = self._read.get(key)
        if cached is None or cached[0] != value:
            cached = self._read[key] = value, self._decode(key, value)
        return cached[1]

    def _decode(self, key: str, value: bytes) -> Policy | None:
        try:
            return msgspec.json.decode(value, type=Policy)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
            self._log.error("a policy of recordings can't be read", key=key, error=str(e))
            return None
