"""`tidegate model new`: a package with a detector of one's own, complete as it is."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path
from string import Template

import click

from services.cv import model_spec
from shared.runtime.errors import SettingError
from tidegate.view.inert import echo

_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_TEMPLATES = Path(__file__).parent / "template"
# Its file, and the path in the new package.
_FILES = {
    "project.txt": "pyproject.toml",
    "README.md": "README.md",
    "detector.txt": "$name.py",
    "test.txt": "test_$name.py",
    "Dockerfile": "Dockerfile",
    "kustomization.yaml": "deploy/kustomization.yaml",
}


@click.command()
@click.argument("name")
@click.option("--folder", type=click.Path(path_type=Path), help="Folder to create. Default: NAME.")
def new(name: str, folder: Path | None) -> None:
    """Create a Python package with a detector NAME, to fill in.

    \b
    Create it:              tidegate model new my_detector
    Test it:                cd my_detector && pip install -e . pytest && pytest
    Run it:                 CV_MODEL=my_detector tidegate up

    The package has the detector, its entry point, a test, a Dockerfile and a ScaledObject. It works as it is: it
    detects bright areas. NAME is a name for Python: lower case, digits and _.
    """
    if not _NAME.fullmatch(name):
        raise SettingError(f"NAME {name!r} is no name of a module: take lower case, digits and _, such as my_detector")
    if name in model_spec.BACKENDS or find_spec(name):
        raise SettingError(f"NAME {name!r} is a model's or a module's here: choose another one")
    folder = folder or Path(name)
    if folder.exists():
        raise SettingError(f"{folder} exists already: choose another NAME or --folder")
    for path, text in files(name).items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        echo(f"created {target}")
    echo(f"\ncd {folder} && pip install -e . pytest && pytest\nCV_MODEL={name} tidegate up")


def files(name: str) -> dict[str, str]:
    """Return the files of a package, by path."""
    words = {"name": name, "dashed": name.replace("_", "-")}
    return {
        Template(path).substitute(words): Template((_TEMPLATES / file).read_text()).substitute(words)
        for file, path in _FILES.items()
    }
