"""The version: pyproject.toml defines it, and manifests, compose files and pages repeat it.

    python -m tools.release.version 0.3.0

writes it everywhere, and dates the changelog's section. A version that ends in `.dev0` opens a section `Unreleased`.
"""

from __future__ import annotations

import argparse
import datetime as dt
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

VERSION = r"\d+\.\d+\.\d+(?:\.dev\d+|rc\d+)?"
_DASHED = VERSION.replace(r"\.", "-")
# Images, wheels, user agents; kustomize's tags of images; tags of git; the Job, whose name has no dots.
_REPEATED = re.compile(
    r"(?P<before>\btidegate(?:-[a-z]+)*[:/-]"
    r"|name: tidegate[^:]*(?:newName: [^:]*)?newTag: "
    r"|\b(?:tag|targetRevision): v)"
    rf"(?P<version>{VERSION})\b"
    rf"|(?P<job>tidegate-setup-)(?P<dashed>{_DASHED})\b"
)
_OWN = re.compile(rf'^version = "({VERSION})"$', re.MULTILINE)
_UNRELEASED = "## Unreleased\n"
_SECTION = re.compile(rf"^## (?:Unreleased|({VERSION}) \(\d{{4}}-\d\d-\d\d\))$", re.MULTILINE)


def of(root: Path) -> str:
    """Return the version in pyproject.toml."""
    return str(tomllib.loads((root / "pyproject.toml").read_text())["project"]["version"])


def repeated(root: Path) -> Iterator[tuple[Path, str]]:
    """Yield each version that a file repeats."""
    for path in _files(root):
        for found in _REPEATED.finditer(path.read_text()):
            yield path.relative_to(root), found["version"] or found["dashed"].replace("-", ".")


def sections(root: Path) -> list[str]:
    """Return the versions of the changelog, newest first; that of `Unreleased` is empty."""
    return [found[1] or "" for found in _SECTION.finditer((root / "CHANGELOG.md").read_text())]


def write(root: Path, version: str, today: dt.date) -> None:
    """Write the version into all files."""
    for path in _files(root):
        text = path.read_text()
        if (changed := _REPEATED.sub(lambda found: _with(found, version), text)) != text:
            path.write_text(changed)
    project = root / "pyproject.toml"
    project.write_text(_OWN.sub(f'version = "{version}"', project.read_text()))
    changelog = root / "CHANGELOG.md"
    text = changelog.read_text()
    if is_final(version):
        text = text.replace(_UNRELEASED, f"## {version} ({today})\n", 1)
    elif _UNRELEASED not in text:
        text = text.replace("\n## ", f"\n{_UNRELEASED}\n## ", 1)
    changelog.write_text(text)


def is_final(version: str) -> bool:
    return version.replace(".", "").isdigit()


def _with(found: re.Match[str], version: str) -> str:
    return f"{found['job']}{version.replace('.', '-')}" if found["job"] else f"{found['before']}{version}"


def _files(root: Path) -> Iterator[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--", "deploy", "docs", "compose*.yaml"],
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if name.endswith((".md", ".yaml", "Dockerfile", "Containerfile")):
            yield root / name


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("version", help="such as 0.3.0, 0.3.0rc1 or 0.4.0.dev0")
    args = parser.parse_args()
    if not re.fullmatch(VERSION, args.version):
        parser.error(f"{args.version} is no version such as 0.3.0, 0.3.0rc1 or 0.4.0.dev0")
    write(Path.cwd(), args.version, dt.datetime.now(dt.UTC).date())


if __name__ == "__main__":
    main()
