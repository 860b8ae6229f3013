"""The documentation says what is there: links, files, settings, metrics, commands, and the pages made from the code."""

from __future__ import annotations

import ast
import importlib
import os
import re
import shlex
import subprocess
import sys
import textwrap
import tomllib
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from pathlib import Path

import click
import pytest

from services.scaler.live import metadata
from shared.contract import catalog
from shared.contract.events import KINDS
from shared.contract.rights import identities
from shared.contract.topology import TopologySettings
from shared.runtime.settings import FORMER, BusSettings
from tests.support.paths import ROOT
from tidegate.commands import tidegate as main
from tools import site
from tools.reference import scaledobject, settings, structs
from tools.reference.metrics import text as metrics_page
from tools.reference.pages import FOLDER, PAGES

FOLDERS = ("shared", "services", "tidegate", "deploy", "docs", "tests", "bench", "tools")


def _tracked(*patterns: str) -> list[str]:
    """Files of the repository, those of this change too."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", *patterns]
    return subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()


@cache
def _pages() -> dict[str, str]:
    """The text of every page, by its path."""
    return {name: (ROOT / name).read_text() for name in _tracked("*.md") if (ROOT / name).exists()}


def _current() -> dict[str, str]:
    """The pages without the changelog, which has the names of its time."""
    return {name: text for name, text in _pages().items() if name != "CHANGELOG.md"}


def _failing(wrong: Mapping[str, Collection[object]]) -> dict[str, Collection[object]]:
    """The pages of which something is wrong, with what is."""
    return {name: found for name, found in wrong.items() if found}


def _without_blocks(text: str) -> str:
    return re.sub(r"^( *)```.*?^\1```$", "", text, flags=re.DOTALL | re.MULTILINE)


def _in_backticks(text: str) -> list[str]:
    return [" ".join(token.split()) for token in re.findall(r"(?<!`)`([^`]+)`(?!`)", _without_blocks(text))]


@cache
def _anchors(name: str) -> set[str]:
    """The anchors that GitHub and the site make of headings."""
    headings = re.findall(r"^#+ (.*)$", _without_blocks((ROOT / name).read_text()), re.MULTILINE)
    plain = [re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "") for heading in headings]
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in plain}


def test_links_have_a_target() -> None:
    assert _failing({name: _broken_links(name, text) for name, text in _pages().items()}) == {}


def _broken_links(name: str, text: str) -> list[str]:
    broken = []
    for _, _, target in site.LINK.findall(_without_blocks(text)):
        path, _, anchor = target.partition("#")
        if "://" in target:
            continue
        meant = os.path.normpath(Path(name).parent / path) if path else name
        if not (ROOT / meant).exists():
            broken.append(f"{target}: no such file")
        elif anchor and anchor not in _anchors(meant):
            broken.append(f"{target}: no such heading")
    return broken


def test_named_files_exist() -> None:
    start = re.compile(rf"^(?:{'|'.join(FOLDERS)})/[\w./-]*$")
    named = {name: set(filter(start.match, _in_backticks(text))) for name, text in _current().items()}
    there = {each for found in named.values() for each in found if (ROOT / each).exists()}
    assert _failing({name: found - there for name, found in named.items()}) == {}


def test_named_python_objects_exist() -> None:
    dotted = re.compile(r"^(?:python -m )?((?:shared|services|tools|bench|tests)(?:\.\w+)+)(?:\(.*\))?$")
    named = {
        name: {m[1] for token in _in_backticks(text) if (m := dotted.match(token))} for name, text in _current().items()
    }
    assert _failing({name: {each for each in found if not _importable(each)} for name, found in named.items()}) == {}


def test_python_examples_import_existing_names() -> None:
    wrong: dict[str, set[str]] = {}
    for name, indented in _current().items():
        text = textwrap.dedent(indented)
        imports = re.findall(r"^ *from ((?:shared|services|tidegate)[\w.]*) import ([\w, ]+)$", text, re.MULTILINE)
        named = {f"{module}.{each.strip()}" for module, names in imports for each in names.split(",")}
        wrong[name] = {each for each in named if not _importable(each)}
        for block in re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
            try:
                compile(block, name, "exec", ast.PyCF_ONLY_AST)
            except SyntaxError as e:
                wrong[name].add(str(e))
    assert _failing(wrong) == {}


def test_the_documented_commands_create_the_passwords_of_a_cluster(tmp_path: Path) -> None:
    text = (ROOT / "deploy/README.md").read_text()
    block, with_tls = re.findall(r"^   (tidegate cluster init .*)$", text, re.MULTILINE)
    env = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    subprocess.run(["bash", "-e", "-c", textwrap.dedent(block)], cwd=tmp_path, env=env, check=True)
    secrets = {p.name for p in (tmp_path / "secrets").iterdir() if not p.name.startswith(".")}
    assert secrets == {
        *identities.permissions(),
        "accounts.conf",
        "kustomization.yaml",
        "namespace.yaml",
        "routes",
        "routes.conf",
        "tenants.json",
    }
    assert {p.stat().st_mode & 0o77 for p in (tmp_path / "secrets").iterdir() if p.name != ".lock"} == {0}
    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o700
    block = (tmp_path / "secrets/accounts.conf").read_text()
    plain = [(tmp_path / "secrets" / identity).read_text() for identity in identities.permissions()]
    assert not any(password in block for password in plain)
    subprocess.run(["bash", "-e", "-c", with_tls], cwd=tmp_path, env=env, check=True)
    assert (tmp_path / "secrets/tls/nats-tls/tls.crt").exists()


def _importable(dotted: str) -> bool:
    module, _, attribute = dotted.rpartition(".")
    try:
        importlib.import_module(dotted)
    except ModuleNotFoundError:
        return "." in dotted and _importable(module) and hasattr(importlib.import_module(module), attribute)
    return True


def test_every_folder_is_in_the_tables_of_contributing() -> None:
    rows = re.findall(r"^\| `([\w./]+)/` \|", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE)
    tops = {name.partition("/")[0] for name in _tracked() if "/" in name and (ROOT / name).exists()}
    packages = {
        str(Path(name).parent)
        for name in _tracked("shared/*/__init__.py", "services/*/__init__.py", "tidegate/*/__init__.py")
        if (ROOT / name).exists() and name.count("/") == 2
    }
    assert len(rows) == len(set(rows))
    assert set(rows) == tops | packages


@pytest.mark.parametrize("page", PAGES)
def test_the_reference_equals_the_generated_one(page: str) -> None:
    assert (FOLDER / page).read_text() == PAGES[page](), "run `make reference`"


def test_every_page_of_the_reference_is_generated_or_for_programs() -> None:
    assert {p.name for p in FOLDER.iterdir()} == set(PAGES)


def test_every_field_of_an_event_is_explained() -> None:
    parts = structs.reachable(*KINDS)
    assert parts
    silent = {name: set(part.__struct_fields__) - set(structs.meanings(part)) for name, part in parts.items()}
    assert _failing(silent) == {}


def test_the_scaler_accepts_every_key_of_the_reference() -> None:
    values = {"service": "cv", "stream": "MEDIA", "consumer": "cv", "metricsUrl": "http://127.0.0.1:9090/metrics"}
    refused = {}
    for key in scaledobject.metadata_keys():
        try:
            metadata.parse({"service": "cv", key: values.get(key, "1")})
        except Exception as e:
            refused[key] = e
    assert refused == {}


def _settings() -> set[str]:
    """The settings of processes and of compose.yaml."""
    structs = [BusSettings, TopologySettings, *settings.found().values()]
    composed = re.findall(r"\$\{([A-Z_]+)", (ROOT / "compose.yaml").read_text())
    return {name.upper() for struct in structs for name in struct.__struct_fields__} | set(composed)


def test_named_settings_exist() -> None:
    existing = _settings()
    prefixes = {each.partition("_")[0] for each in existing} - {"NUM", "REPLICA", "LOG", "MAX", "STREAM", "VLLM"}
    setting = re.compile(rf"\b(?:{'|'.join(sorted(prefixes))})_[A-Z][A-Z_]*\b")
    named = {name: set(setting.findall(text)) for name, text in _current().items()}
    named["docs/reference/settings.md"] -= set(FORMER)
    wrong = {
        name: {each for each in found if not {each, each.removesuffix("_FILE")} & existing}
        for name, found in named.items()
    }
    assert _failing(wrong) == {}


def test_named_metrics_exist() -> None:
    existing = set(re.findall(r"`(tidegate_\w+)`", metrics_page()))
    written = {name: text for name, text in _current().items() if not name.startswith("docs/reference/")}
    assert _failing({name: set(re.findall(r"\btidegate_\w+", text)) - existing for name, text in written.items()}) == {}


def _lines(text: str) -> list[str]:
    """The commands of a page: the lines of its blocks without a language, and the text in backticks."""
    blocks = re.findall(r"^( *)```(?:sh|bash)?\n(.*?)^\1```$", text, flags=re.DOTALL | re.MULTILINE)
    return [line for _, block in blocks for line in block.replace("\\\n", " ").splitlines()] + _in_backticks(text)


def _commands(text: str) -> Iterator[list[str]]:
    """Command lines of tidegate, as words."""
    for line in _lines(text):
        line = re.sub(r"^\s*(?:[A-Z_]+=\S+ )*(?:\.venv/bin/)?", "", line)
        if re.match(r"tidegate [a-z]", line):
            yield shlex.split(line, comments=True)[1:]


def test_shown_commands_exist() -> None:
    shown = {name: list(_commands(text)) for name, text in _current().items()}
    assert _failing({name: [words for words in lines if not _exists(words)] for name, lines in shown.items()}) == {}


def _exists(words: list[str]) -> bool:
    command: click.Command = main
    rest = list(words)
    while isinstance(command, click.Group) and rest:
        found = command.get_command(click.Context(command), rest.pop(0))
        if found is None:
            return False
        command = found
    options = {opt for p in command.params for opt in [*p.opts, *p.secondary_opts]} | {"--help", "-h"}
    return all(word.partition("=")[0] in options for word in rest if re.match(r"--?[a-z]", word))


def test_no_page_or_remedy_asks_a_package_index_for_our_name() -> None:
    """The name may belong to another project there."""
    sources = [path for folder in ("services", "shared", "tidegate") for path in (ROOT / folder).rglob("*.py")]
    texts = _current() | {str(path.relative_to(ROOT)): path.read_text() for path in sources}
    requests = {
        name: set(re.findall(r"\b(?:install|inject|uvx|--from)\b.*[\s'\"]tidegate\[", text))
        for name, text in texts.items()
    }
    assert _failing(requests) == {}


def test_every_named_make_target_exists() -> None:
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for name, text in _current().items():
        lines = [shlex.split(line, comments=True) for line in _lines(text) if line.startswith("make ")]
        assert {word for line in lines for word in line[1:] if re.fullmatch("[a-z-]+", word)} <= targets, name


@pytest.mark.parametrize("service", catalog.services(), ids=lambda service: service.name)
def test_every_service_has_a_page(service: catalog.Service) -> None:
    assert (ROOT / service.page).is_file()


def test_every_page_is_in_the_navigation_of_the_site(tmp_path: Path) -> None:
    site.stage(ROOT, tmp_path)
    pages = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*.md")}
    assert set(_leaves(tomllib.loads((ROOT / "zensical.toml").read_text())["project"]["nav"])) == pages


def _leaves(nav: object) -> Iterator[str]:
    if isinstance(nav, str):
        yield nav
    elif isinstance(nav, list | dict):
        for inner in nav.values() if isinstance(nav, dict) else nav:
            yield from _leaves(inner)


def test_links_of_the_site_lead_to_its_pages(tmp_path: Path) -> None:
    site.stage(ROOT, tmp_path)
    broken = []
    for page in tmp_path.rglob("*.md"):
        for _, _, target in site.LINK.findall(_without_blocks(page.read_text())):
            path = target.partition("#")[0]
            if "://" not in target and path and not (page.parent / path).exists():
                broken.append(f"{page.relative_to(tmp_path)}: {target}")
    assert broken == []


def test_a_page_that_loads_from_other_hosts_is_found(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text(
        '<a href="https://keda.sh">KEDA</a> <script src="assets/own.js"></script> <link href="//fonts.test/a.css">'
        '<script async src="https://cdn.test/shim.js"></script>'
    )
    assert site.loaded_from_elsewhere(tmp_path) == {"//fonts.test/a.css", "https://cdn.test/shim.js"}
