"""One version: files repeat that of pyproject.toml, and the changelog agrees with it."""

from __future__ import annotations

import datetime as dt
import shutil
import subprocess
from pathlib import Path

import pytest
from nats.micro.service import SEMVER_REGEX
from packaging.version import Version

from shared.bus import requests
from tests.support.paths import ROOT
from tools.release import version

TODAY = dt.date(2027, 1, 2)
# What repeats the version: each has its own form of it.
FORMS = (
    "compose.yaml",
    "deploy/Dockerfile",
    "deploy/argocd/tidegate.yaml",
    "deploy/flux/source.yaml",
    "deploy/kubernetes/base/setup.yaml",
    "deploy/kubernetes/overlays/h100/kustomization.yaml",
    "docs/how-to/gitops.md",
    "docs/how-to/webhook.md",
)


def test_files_repeat_the_version_of_the_project() -> None:
    present, found = version.of(ROOT), list(version.repeated(ROOT))
    assert [(f"{path}", other) for path, other in found if other != present] == [], (
        "run python -m tools.release.version"
    )
    assert set(FORMS) <= {f"{path}" for path, _ in found}


def test_the_changelog_s_newest_section_is_of_the_version() -> None:
    """A version under development has a section without a version, and is newer than the last release."""
    present, (newest, *older) = version.of(ROOT), version.sections(ROOT)
    assert newest == (present if version.is_final(present) else "")
    assert Version(older[0]) < Version(present)


def test_nats_takes_every_version_of_ours() -> None:
    """A micro service of another form does not start."""
    for one in (version.of(ROOT), "1.2.3", "1.2.3rc1", "1.2.3.dev0"):
        assert SEMVER_REGEX.match(requests.semantic(one)), one
    assert [requests.semantic(v) for v in ("1.2.3", "1.2.3.dev0")] == ["1.2.3", "1.2.3-dev.0"]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The files that have a version, as a repository of their own."""
    for name in {"pyproject.toml", "CHANGELOG.md", *(f"{path}" for path, _ in version.repeated(ROOT))}:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    subprocess.run(["git", "add", "."], cwd=tmp_path, check=True)
    return tmp_path


@pytest.mark.parametrize("new", ["7.0.0", "7.0.0rc1", "7.1.0.dev0"])
def test_a_version_is_written_everywhere(new: str, checkout: Path) -> None:
    before = list(version.repeated(checkout))
    version.write(checkout, new, TODAY)
    assert version.of(checkout) == new
    assert list(version.repeated(checkout)) == [(path, new) for path, _ in before]
    assert "newTag: 2.15" in (ROOT / "deploy/kubernetes/nats/kustomization.yaml").read_text(), "not ours"
    assert version.sections(checkout)[0] == (new if new == "7.0.0" else "")


def test_the_changelog_s_section_is_dated_and_followed_by_another(checkout: Path) -> None:
    known = version.sections(checkout)
    version.write(checkout, "7.0.0", TODAY)
    version.write(checkout, "7.1.0.dev0", TODAY)
    assert version.sections(checkout) == ["", "7.0.0", *known[1:]]
    assert "## 7.0.0 (2027-01-02)\n" in (checkout / "CHANGELOG.md").read_text()
