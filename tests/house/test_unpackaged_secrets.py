"""Passwords that `deploy/README.md` has made in a checkout stay there: no commit, package or image takes them along."""

from __future__ import annotations

import re
import shutil
import tarfile
from pathlib import Path

import pytest

from tests.support.paths import ROOT
from tests.support.servers.own_server import accounts
from tests.support.uv_commands import run, uv


def test_git_ignores_passwords_in_any_folder(tmp_path: Path) -> None:
    run(["git", "init", "-q", str(tmp_path)])
    accounts(tmp_path)
    (tmp_path / "secrets").rename(tmp_path / "production")
    (tmp_path / "nats.conf").write_text("include production/accounts.conf\n")
    run(["git", "-C", str(tmp_path), "add", "--all"])
    assert run(["git", "-C", str(tmp_path), "ls-files"]).split() == ["nats.conf"]


@pytest.mark.slow
@pytest.mark.xdist_group("wheel")
def test_a_package_has_only_the_listed_files_of_a_checkout(tmp_path: Path) -> None:
    copy = tmp_path / "checkout"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".*", "*-output", "dist", "__pycache__"))
    accounts(copy)
    (copy / ".env").write_text("NATS_PASSWORD=p")
    run([uv(), "build", "--sdist", "--out-dir", str(tmp_path / "dist"), str(copy)])
    (sdist,) = (tmp_path / "dist").glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        held = {name.split("/")[1] for name in archive.getnames() if "/" in name}
    assert held - {p.name for p in ROOT.iterdir()} == {"PKG-INFO"}
    assert {"secrets", ".env"} & held == set() and {"deploy", "tests", "docs", "requirements"} <= held


def test_an_image_is_built_only_from_what_it_copies() -> None:
    """Nothing else of the checkout is sent to the builder."""
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", (ROOT / "deploy/Dockerfile").read_text(), re.MULTILINE)
    first, *others = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] not in ("", "#")]
    assert first == "*"
    assert sorted(line for line in others if line.startswith("!")) == sorted(
        f"!{source}" for line in copied for source in line.split()
    )
