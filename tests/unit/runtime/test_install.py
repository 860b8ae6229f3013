"""The command that installs an extra, for each way that Tidegate can be installed."""

from __future__ import annotations

import json
import shutil
import sys
import tomllib
from importlib.metadata import Distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from shared.contract import catalog
from shared.runtime import install
from tests.support.paths import ROOT

METADATA = """\
Metadata-Version: 2.4
Name: tidegate
Version: 1.0
Requires-Dist: click>=8.1
Provides-Extra: cv
Requires-Dist: numpy>=1.26; extra == 'cv'
Requires-Dist: openvino>=2025.0; extra == 'cv'
Provides-Extra: analytics
Requires-Dist: numpy>=1.26; extra == 'analytics'
Requires-Dist: scipy>=1.14; extra == 'analytics'
"""


def installed(folder: Path, url: str = "", **more: object) -> Distribution:
    """An installation as pip records it. url: where it came from; empty: an index."""
    info = folder / "tidegate-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(METADATA)
    if url:
        (info / "direct_url.json").write_text(json.dumps({"url": url, **more}))
    return Distribution.at(info)


def test_an_editable_clone_stays_editable(tmp_path: Path) -> None:
    clone = tmp_path / "my clone"
    clone.mkdir()
    found = installed(tmp_path, clone.as_uri(), dir_info={"editable": True})
    assert install.sources(found, ("cv", "up")) == ["-e", f"{clone}[cv,up]"]


def test_a_wheel_is_installed_from_its_file(tmp_path: Path) -> None:
    wheel = tmp_path / "tidegate-1.0-py3-none-any.whl"
    wheel.touch()
    assert install.sources(installed(tmp_path, wheel.as_uri(), archive_info={}), ("cv",)) == [f"{wheel}[cv]"]


@pytest.mark.parametrize("url", ["", "file:///gone/tidegate-1.0-py3-none-any.whl", "https://example.org/t.whl"])
def test_no_index_is_asked_for_our_name(url: str, tmp_path: Path) -> None:
    found = installed(tmp_path, url)
    assert install.sources(found, ("cv",)) == ["numpy>=1.26", "openvino>=2025.0"]
    assert install.sources(found, ("analytics", "cv")) == ["numpy>=1.26", "openvino>=2025.0", "scipy>=1.14"]


def test_the_pip_of_this_environment_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another pip on PATH would install into another environment."""
    monkeypatch.setenv("PATH", "/usr/bin")
    assert install.command("up").startswith(f"{sys.executable} -m pip install ")
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    assert shutil.which("pip")
    assert install.command("up").startswith("pip install ")


def test_up_is_all_that_its_options_need() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert [Requirement(r).extras for r in declared["up"]] == [set(catalog.UP)]
    options = ["up", *(s.started_by for s in catalog.SERVICES if s.started_by.startswith("--"))]
    started = catalog.started(options, {"WEBHOOK_URL": "http://127.0.0.1:9/"})
    assert {extra for service in started for extra in service.extras} | {"server"} == set(catalog.UP)
