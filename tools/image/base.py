"""The base image: Python's official image, or one built from Debian's packages if no registry is reachable."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

from tools.image.engine import Engine

DEBIAN = "localhost/tidegate-base:trixie"
DOCKERFILE = Path("deploy/Dockerfile")


def official() -> str:
    """Return the image that the Dockerfile names, by its digest."""
    found = re.search(r"^ARG BASE=(\S+)$", DOCKERFILE.read_text(), re.MULTILINE)
    assert found
    return found[1]


def chosen(engine: Engine, choice: str) -> str:
    """Return the image for a choice: `debian`, which is built if missing, `official`, or an image's name."""
    if choice == "official":
        return official()
    if choice != "debian":
        return choice
    if not engine.has(DEBIAN):
        _debian(engine)
    return DEBIAN


def _debian(engine: Engine) -> None:
    """Build an image of Debian 13 with its own Python and certificates, and nothing else."""
    if not shutil.which("mmdebstrap"):
        sys.exit("mmdebstrap: not installed. On Debian: apt-get install --no-install-recommends mmdebstrap")
    tar = engine.folder / "base.tar"
    packages = "--include=python3,python3-venv,ca-certificates"
    # Python's official image does not have these either.
    excludes = [
        f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("man", "doc", "locale", "info", "zoneinfo/right")
    ]
    engine.run("mmdebstrap", "--variant=minbase", packages, *excludes, "trixie", str(tar))
    engine.run("podman", "import", "--quiet", str(tar), DEBIAN)
    tar.unlink()
