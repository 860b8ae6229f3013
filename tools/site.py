"""Build the documentation site: collect its pages from the repository, and run Zensical into `.site/html`.

    python -m tools.site                  # make docs

Pages are Markdown that also reads well in the repository, so links between them are paths of files. Some files outside
`docs/` get a page on the site too. A link to a file without a page becomes the file's name. This module also writes an
API page for each package of `shared`, from its docstrings.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
SITE = ROOT / ".site"
# Pages of the site that lie elsewhere in the repository.
ELSEWHERE = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "bench/vtest/README.md": "explanation/vtest.md",
    "deploy/README.md": "how-to/cluster.md",
}
API = "reference/api"
LOADED = re.compile(r"<(?:script|link|img)\b[^>]*?\b(?:src|href)=\"((?:https?:)?//[^\"]+)\"")
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")


def main() -> None:
    stage(ROOT, SITE / "pages")
    shutil.rmtree(SITE / "html", ignore_errors=True)
    result = subprocess.run([sys.executable, "-m", "zensical", "build", "--clean", "--strict"], cwd=ROOT, check=False)
    if result.returncode:
        raise SystemExit(result.returncode)
    if loads := sorted(loaded_from_elsewhere(SITE / "html")):
        raise SystemExit(f"pages load what is not theirs: {', '.join(loads)}")
    print("the site is in .site/html; to look at it: python -m http.server -d .site/html")


def stage(root: Path, out: Path) -> None:
    """Write every page of the site, and the files that pages show, below `out`."""
    shutil.rmtree(out, ignore_errors=True)
    at = {
        str(p.relative_to(root)): str(p.relative_to(root / "docs")) for p in (root / "docs").rglob("*") if p.is_file()
    }
    at |= ELSEWHERE
    for source, target in at.items():
        to = out / target
        to.parent.mkdir(parents=True, exist_ok=True)
        if to.suffix == ".md":
            to.write_text(relinked((root / source).read_text(), source, at))
        else:
            shutil.copyfile(root / source, to)
    for name, text in api_pages(root):
        (out / API).mkdir(parents=True, exist_ok=True)
        (out / API / name).write_text(text)


def loaded_from_elsewhere(html: Path) -> set[str]:
    """Return the URLs on other servers from which pages load scripts, styles and pictures."""
    return {url for page in html.rglob("*.html") for url in LOADED.findall(page.read_text())}


def relinked(text: str, source: str, at: dict[str, str]) -> str:
    """Return a page's text with links for the site. source: its path in the repository; at: each file's site path."""
    here = Path(at[source]).parent

    def link(match: re.Match[str]) -> str:
        picture, shown, target = match.groups()
        path, _, anchor = target.partition("#")
        if "://" in target or not path:
            return match[0]
        file = os.path.normpath(Path(source).parent / path)
        if file not in at:
            return shown if picture else f"`{shown.strip('`')}`"
        return f"{picture}[{shown}]({os.path.relpath(at[file], here)}{'#' + anchor if anchor else ''})"

    return LINK.sub(link, text)


def api_pages(root: Path) -> Iterator[tuple[str, str]]:
    """Yield (file name, text) for each package of `shared`; Zensical fills in the docstrings."""
    packages = sorted(p.parent.name for p in (root / "shared").glob("*/__init__.py"))
    listed = "\n".join(f"- [`shared.{name}`]({name}.md)" for name in packages)
    intro = "What a service of your own imports, package by package."
    yield "index.md", f"# Python API\n\n{intro}\n\n{listed}\n"
    for name in packages:
        modules = sorted(p.stem for p in (root / "shared" / name).glob("*.py") if not p.stem.startswith("_"))
        parts = [f"## shared.{name}.{module}\n\n::: shared.{name}.{module}" for module in modules]
        yield (
            f"{name}.md",
            "\n\n".join([f"# shared.{name}", f"::: shared.{name}\n    options:\n      members: false", *parts]) + "\n",
        )


if __name__ == "__main__":
    main()
