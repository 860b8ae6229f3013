"""The images of deploy/Dockerfile for tests, built once a run on Debian's packages, and who can run them."""

from __future__ import annotations

import functools
import os
import shutil
from pathlib import Path

import pytest

from tools.image import base
from tools.image.build import build
from tools.image.engine import NEEDED, PACKAGES, Engine

ROOT = Path(__file__).parent.parent
SMALL, CPU = "small", "cpu"
MISSING = [name for name in (*NEEDED, "mmdebstrap") if not shutil.which(name)]

MARKS = [
    pytest.mark.image,
    pytest.mark.slow,
    # One store of images: two that build into it would take each other's away.
    pytest.mark.alone,
    pytest.mark.skipif(bool(MISSING), reason=f"no containers here: apt-get install {PACKAGES} mmdebstrap"),
    pytest.mark.skipif(os.geteuid() != 0, reason="containers are started as root"),
]


@functools.cache
def engine() -> Engine:
    """With both images in it, as the sources are now."""
    made = Engine(ROOT / ".images")
    on = base.chosen(made, "debian")
    for name in (SMALL, CPU):
        build(made, name, on)
    return made
