"""buildah and podman, configured for this machine, with their own store below `.images/`.

    engine = Engine(Path(".images"))        # raises SystemExit with the remedy if they are not installed
    engine.run("podman", "images")

With control groups of version 1, as in many containers, crun refuses to start, so this uses runc without a cgroup
manager. If overlays can't be mounted, layers are copied.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

NEEDED = ("buildah", "podman", "runc")
PACKAGES = "buildah podman runc netavark aardvark-dns nftables catatonit"
REMEDY = f"On Debian: apt-get install --no-install-recommends {PACKAGES}"


class Engine:
    """Runs buildah and podman; see the module. folder: for images and the configuration."""

    def __init__(self, folder: Path) -> None:
        if missing := [name for name in NEEDED if not shutil.which(name)]:
            sys.exit(f"{', '.join(missing)}: not installed. {REMEDY}")
        self.folder = folder.resolve()
        self.folder.mkdir(exist_ok=True)
        self.environment = os.environ | self._configured()

    def run(self, *command: str, stdin: str | None = None, quiet: bool = False, timeout_s: float = 3600.0) -> str:
        """Return the output of a command that gets `stdin`. Raises SystemExit with its last lines if it fails."""
        if not quiet:
            print("+", " ".join(command), flush=True)
        result = subprocess.run(
            command, input=stdin, env=self.environment, capture_output=True, text=True, timeout=timeout_s, check=False
        )
        if result.returncode:
            sys.exit(f"{' '.join(command)}\nfailed:\n{(result.stdout + result.stderr)[-3000:]}")
        return result.stdout.strip()

    def status(self, *command: str) -> int:
        """Return the exit status of a command."""
        return subprocess.run(command, env=self.environment, capture_output=True, check=False).returncode

    def log(self, container: str) -> str:
        """Return a container's output so far, on both streams."""
        logs = ("podman", "logs", container)
        return subprocess.run(
            logs, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True
        ).stdout

    def has(self, image: str) -> bool:
        """Return whether an image is in the store."""
        return self.status("podman", "image", "exists", image) == 0

    def _configured(self) -> dict[str, str]:
        containers, storage = self.folder / "containers.conf", self.folder / "storage.conf"
        unified = Path("/sys/fs/cgroup/cgroup.controllers").exists()
        engine = '[engine]\nevents_logger="file"\nruntime="runc"\n'
        # podman refuses limits above those of this machine.
        limits = '[containers]\ndefault_ulimits=["nproc=4096:4096","nofile=20000:20000"]\n'
        containers.write_text(engine + ("" if unified else 'cgroup_manager="cgroupfs"\n') + limits)
        # Without overlays each layer is a full copy, so a build caches none.
        self.overlays = _can_overlay(self.folder)
        driver = "overlay" if self.overlays else "vfs"
        storage.write_text(
            f'[storage]\ndriver="{driver}"\ngraphroot="{self.folder}/store"\nrunroot="{self.folder}/run"\n'
        )
        return {
            "CONTAINERS_CONF": str(containers),
            "CONTAINERS_STORAGE_CONF": str(storage),
            "PODMAN_IGNORE_CGROUPSV1_WARNING": "1",
        }


def _can_overlay(folder: Path) -> bool:
    """Return whether an overlay can be mounted in this folder. An existing store keeps its driver."""
    if (folder / "store" / "vfs").exists():
        return False
    trial = folder / "trial"
    parts = [trial / name for name in ("lower", "upper", "work", "merged")]
    for part in parts:
        part.mkdir(parents=True, exist_ok=True)
    options = "lowerdir={},upperdir={},workdir={}".format(*parts[:3])
    result = subprocess.run(
        ["mount", "-t", "overlay", "overlay", "-o", options, str(parts[3])], capture_output=True, check=False
    )
    if result.returncode == 0:
        subprocess.run(["umount", str(parts[3])], capture_output=True, check=False)
    shutil.rmtree(trial, ignore_errors=True)
    return result.returncode == 0
