"""The cameras that the buckets name for ingest, with their credentials."""

from __future__ import annotations

from shared.bus.mirror import Mirror
from shared.contract import cameras, credentials, names
from shared.contract.cameras import Camera
from shared.contract.credentials import Login
from shared.contract.names import check_camera
from shared.runtime.errors import SettingError
from shared.runtime.telemetry import logger


class WantedCameras:
    """listed, entries: copies of the buckets of cameras and of credentials."""

    def __init__(self, listed: Mirror, entries: Mirror) -> None:
        self._listed = listed
        self._entries = entries
        self._reported: dict[str, bytes] = {}
        self._log = logger("fleet")

    def enabled(self) -> dict[str, Camera]:
        """Return the cameras to read. An entry that can't be used is logged once."""
        out: dict[str, Camera] = {}
        for name, value in self._listed.values.items():
            if names.is_removed(name):
                continue
            try:
                entry = self._entries.values.get(name)
                camera = cameras.joined(cameras.decode(value), credentials.decode(entry) if entry else None)
                check_camera(name)
            except SettingError as e:
                if self._reported.get(name) != value:
                    self._reported[name] = value
                    self._log.error("camera can't be used", camera=name, error=str(e))
                continue
            if camera.enabled:
                out[name] = camera
        return out

    def is_listed(self, name: str) -> bool:
        return name in self._listed.values

    def revision(self, name: str) -> int:
        """Return the revision of a camera's entry; 0 if there is none."""
        return self._listed.revision(name) or 0

    def login(self, name: str, camera: Camera) -> Login:
        return credentials.login(name, camera.url, camera.verify_tls, self._entries.values.get(name, b""))
