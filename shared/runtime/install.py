"""The command that adds extras to this environment, by how Tidegate was installed here.

It asks no package index for the name `tidegate`, which may belong to another project there. If the clone or the wheel
is gone, the command names the packages of the extras instead.
"""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlsplit

NAME = "tidegate"


def command(*extras: str) -> str:
    """Return the command that installs extras."""
    try:
        targets = sources(distribution(NAME), extras)
    except PackageNotFoundError:
        # A checkout on PYTHONPATH.
        targets = ["-e", f"{Path(__file__).parents[2]}[{','.join(extras)}]"]
    return " ".join([_installer(), *map(shlex.quote, targets)])


def sources(installed: Distribution, extras: tuple[str, ...]) -> list[str]:
    """Return pip's arguments for extras: the clone or the wheel of this installation, or packages."""
    origin = json.loads(installed.read_text("direct_url.json") or "{}")
    url = urlsplit(str(origin.get("url", "")))
    path = Path(unquote(url.path))
    if url.scheme == "file" and path.exists():
        editable = ["-e"] if origin.get("dir_info", {}).get("editable") else []
        return [*editable, f"{path}[{','.join(extras)}]"]
    return _packages(installed, extras)


def _packages(installed: Distribution, extras: tuple[str, ...]) -> list[str]:
    """Return the requirements of extras. The wheel has none of them nested, and no other marker."""
    marked = (line.partition("; extra == ") for line in installed.requires or ())
    return sorted({requirement for requirement, _, extra in marked if extra.strip("'\"") in extras})


def _installer() -> str:
    """Return the installer of this environment: its pip, by a short name if that is first on PATH, or else uv."""
    if find_spec("pip") is None:
        return f"uv pip install --python {shlex.quote(sys.executable)}"
    active = shutil.which("pip")
    if active and Path(active).parent == Path(sys.executable).parent:
        return "pip install"
    return f"{shlex.quote(sys.executable)} -m pip install"
