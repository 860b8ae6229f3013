"""The pages' files: small, without what a strict policy forbids, and without anybody else's host."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from services.console.server.files import FOLDER, files

SCRIPTS = sorted(FOLDER.rglob("*.js"))
FORBIDDEN = re.compile(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|\.cssText")


def name(path: Path) -> str:
    return path.relative_to(FOLDER).as_posix()


@pytest.mark.parametrize("path", SCRIPTS, ids=name)
def test_a_script_is_short_and_reads_no_html(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) < 300
    assert not FORBIDDEN.search(text)


def test_pages_request_nothing_from_other_hosts() -> None:
    for path, file in files().items():
        found = re.findall(r"(?:https?:)?//[a-z0-9.-]+\.[a-z]{2,}[^\s\"'`)]*", file.plain.decode())
        assert [url for url in found if not url.startswith("http://www.w3.org/")] == [], path


def test_the_page_has_nothing_inline() -> None:
    html = files()["index.html"].plain.decode()
    assert "style=" not in html and not re.search(r"<script(?![^>]*src=)|<style|\son\w+=", html)


def test_every_style_is_linked_and_every_imported_file_exists() -> None:
    html = files()["index.html"].plain.decode()
    linked = set(re.findall(r'href="(style/[^"]+)"', html))
    assert linked == {path for path in files() if path.startswith("style/")}
    for path in SCRIPTS:
        for module in re.findall(r'from "(\.[^"]+)"', path.read_text()):
            assert (path.parent / module).resolve().is_file(), f"{name(path)} imports {module}"
