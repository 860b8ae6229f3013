"""Packages of others, as pip leaves them in a folder: a module, and metadata with entry points."""

from __future__ import annotations

from pathlib import Path


def install(folder: Path, module: str, code: str, *, group: str, version: str = "0.1", **entries: str) -> Path:
    """Write a package into `folder`, for `sys.path`. entries: name=function of the module. Returns the folder."""
    (folder / f"{module}.py").write_text(code)
    metadata = folder / f"{module}-{version}.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: {version}\n")
    lines = "".join(f"{name} = {module}:{function}\n" for name, function in entries.items())
    (metadata / "entry_points.txt").write_text(f"[{group}]\n{lines}")
    return folder
