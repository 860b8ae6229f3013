"""This environment without some of its packages, as without an installed extra."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

from tests.support.paths import ROOT
from tests.support.waiting import patience_s


def without(folder: Path, *packages: str) -> Path:
    """A folder of links to all installed packages, except `packages`, names of modules."""
    folder.mkdir(parents=True)
    for installed in Path(sysconfig.get_path("purelib")).iterdir():
        if installed.name.split(".")[0] not in packages:
            (folder / installed.name).symlink_to(installed)
    return folder


def python(packages: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Python with these packages alone, and our own code."""
    return subprocess.run(
        # Without -S the environment's own packages would be found too.
        [sys.executable, "-S", *arguments],
        env=os.environ | {"PYTHONPATH": f"{packages}{os.pathsep}{ROOT}"} | environment,
        cwd=packages.parent,
        capture_output=True,
        text=True,
        timeout=patience_s(),
        check=False,
    )
