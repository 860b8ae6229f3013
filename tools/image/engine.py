"""buildah and podman as they work on this machine, in a store of their own below `.images/`.

    engine = Engine(Path(".images"))        # raises SystemExit with the remedy where they are not installed
    engine.run("podman", "images")

Where control groups are of version 1, as in many containers, crun refuses to start: runc is taken, and no cgroup
manager. Where overlays can't be mounted, layers are copied.
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
    """See the module. folder: where images and the configuration are kept."""

    def __init__(self, folder: Path) -> None:
        if missing := [name for name in NEEDED if not shutil.which(name)]:
            sys.exit(f"{', '.join(missing)}: not installed. {REMEDY}")
        self.folder = folder.resolve()
        self.folder.mkdir(exist_ok=True)
        self.environment = os.environ | self._configured()

    def run(self, *command: str, said: str | None = None, quiet: bool = False, timeout_s: float = 3600.0) -> str:
        """The output of a command that is told `said`. Raises SystemExit with its last lines where it fails."""
        if not quiet:
            print("+", " ".join(command), flush=True)
        done = subprocess.run(
            command, input=said, env=self.environment, capture_output=True, text=True, timeout=timeout_s, check=False
        )
        if done.returncode:
            sys.exit(f"{' '.join(command)}\nfailed:\n{(done.stdout + done.stderr)[-3000:]}")
        return done.stdout.strip()

    def status(self, *command: str) -> int:
        """The exit status of a command, whatever it says."""
        return subprocess.run(command, env=self.environment, capture_output=True, check=False).returncode

    def log(self, container: str) -> str:
        """What a container has said so far, on both of its streams."""
        logs = ("podman", "logs", container)
        return subprocess.run(
            logs, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True
        ).stdout

    def has(self, image: str) -> bool:
        """Whether an image is in the store."""
        return self.status("podman", "image", "exists", image) == 0

    def _configured(self) -> dict[str, str]:
        containers, storage = self.folder / "containers.conf", self.folder / "storage.conf"
        unified = Path("/sys/fs/cgroup/cgroup.controllers").exists()
        engine = '[engine]\nevents_logger="file"\nruntime="runc"\n'
        # A limit that is above what this machine allows is refused.
        limits = '[containers]\ndefault_ulimits=["nproc=4096:4096","nofile=20000:20000"]\n'
        containers.write_text(engine + ("" if unified else 'cgroup_manager="cgroupfs"\n') + limits)
        # What a build can reuse is not kept where each layer is a whole copy.
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
    """Whether an overlay can be mounted there. An existing store keeps the way that it was made in."""
    if (folder / "store" / "vfs").exists():
        return False
    trial = folder / "trial"
    parts = [trial / name for name in ("lower", "upper", "work", "merged")]
    for part in parts:
        part.mkdir(parents=True, exist_ok=True)
    options = "lowerdir={},upperdir={},workdir={}".format(*parts[:3])
    mounted = subprocess.run(
        ["mount", "-t", "overlay", "overlay", "-o", options, str(parts[3])], capture_output=True, check=False
    )
    if mounted.returncode == 0:
        subprocess.run(["umount", str(parts[3])], capture_output=True, check=False)
    shutil.rmtree(trial, ignore_errors=True)
    return mounted.returncode == 0
