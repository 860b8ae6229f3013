"""The artefacts of a release: complete, reproducible, and only of a tagged tree."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from tests.support.paths import ROOT
from tools.release import __main__ as release
from tools.release import version

PRESENT = version.of(ROOT)


def git(folder: Path, *arguments: str) -> None:
    who = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def tagged(tmp_path: Path) -> Path:
    """A repository whose only commit has the tag of its version."""
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "7.0.0"\n')
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "release: 7.0.0")
    git(tmp_path, "tag", "v7.0.0")
    return tmp_path


def test_only_a_clean_and_tagged_tree_is_released(tagged: Path) -> None:
    release.check(tagged, untagged=False, dirty=False)
    (tagged / "new file.py").touch()
    with pytest.raises(SystemExit, match=r"changes that no commit has \(.*new file\.py.*ALLOW=dirty"):
        release.check(tagged, untagged=False, dirty=False)
    release.check(tagged, untagged=False, dirty=True)
    git(tagged, "add", ".")
    git(tagged, "commit", "-qm", "more")
    with pytest.raises(SystemExit, match=r"no tag v7\.0\.0: git tag -a v7\.0\.0, .*ALLOW=untagged"):
        release.check(tagged, untagged=False, dirty=False)
    release.check(tagged, untagged=True, dirty=False)


def test_manifests_do_not_depend_on_times_or_owners(tmp_path: Path) -> None:
    """An overlay is built from the archive alone."""
    folders = [tmp_path / "first", tmp_path / "second"]
    for folder in folders:
        folder.mkdir()
        release.manifests(ROOT, folder, 1_700_000_000)
    name = f"tidegate-deploy-{PRESENT}"
    first, second = (folder / f"{name}.tar.gz" for folder in folders)
    assert first.read_bytes() == second.read_bytes()
    with tarfile.open(first) as archive:
        shipped = set(archive.getnames())
        assert {entry.uid for entry in archive.getmembers()} == {0}
    overlays = {f"{name}/{path.relative_to(ROOT)}" for path in (ROOT / "deploy/kubernetes/overlays").rglob("*.yaml")}
    assert overlays | {f"{name}/compose.yaml", f"{name}/deploy/keda/cv.yaml", f"{name}/LICENSE"} <= shipped


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.xdist_group("wheel")
def test_the_same_commit_gives_the_same_release(tmp_path: Path) -> None:
    listed = []
    for name in ("first", "second"):
        to = tmp_path / name
        done = subprocess.run(
            [sys.executable, "-m", "tools.release", "--untagged", "--dirty", "--to", str(to)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert "images were left out: no image was requested" in done.stdout
        listed.append((to / "SHA256SUMS").read_text())
    assert listed[0] == listed[1]
    sums = {name: digest for digest, name in (line.split("  ") for line in listed[0].splitlines())}
    packages = (f"tidegate-{PRESENT}-py3-none-any.whl", f"tidegate-{PRESENT}.tar.gz")
    bills = (f"lock-{lock}.cdx.json" for lock in release.LOCKS)
    assert {*packages, *bills, f"tidegate-deploy-{PRESENT}.tar.gz"} == set(sums)
    for name, digest in sums.items():
        assert hashlib.sha256((tmp_path / "first" / name).read_bytes()).hexdigest() == digest
