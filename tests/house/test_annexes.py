"""Optional parts can be deleted: no core imports one, and the core's tests pass without its folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.paths import ROOT
from tests.support.source_files import files, imported

PRODUCT = ("shared", "services", "tidegate", "tests", "deploy", "tools", "pyproject.toml")


class Annex(NamedTuple):
    """folder: what is deleted. attached_in: the one file that imports it, and its text without it.

    core: the file of the core's tests. one: the name of one of them, for every run.
    """

    folder: str
    attached_in: str
    without: str
    core: str
    one: str


WORKER = Annex(
    "shared/worker/extensions",
    "shared/worker/assembly.py",
    "from shared.worker.loop import Loop as Worker\n",
    "tests/integration/worker/test_worker.py",
    "every_message_has_one_event",
)
CV = Annex(
    "services/cv/static_scene",
    "services/cv/app.py",
    "def attach(service, client, settings):\n    return service\n",
    "tests/integration/worker/test_brownout.py",
    "a_heartbeat_has_wanted_and_analysed_frames",
)
ANALYTICS = Annex(
    "services/analytics/second_pass",
    "services/analytics/extensions.py",
    "def attach(analytics, partitions, settings):\n    pass\n",
    "tests/integration/analytics/test_verification_service.py",
    "an_incident_is_verified_and_becomes_an_alert",
)
ANNEXES = [pytest.param(WORKER, id="worker"), pytest.param(CV, id="cv"), pytest.param(ANALYTICS, id="analytics")]


@pytest.mark.parametrize("annex", ANNEXES)
def test_one_file_of_the_product_imports_an_annex(annex: Annex) -> None:
    outside = [file for file in files("shared", "services", "tidegate") if not file.startswith(f"{annex.folder}/")]
    importers = [file for file in outside if any(other.startswith(f"{annex.folder}/") for other in imported(file))]
    assert importers == [annex.attached_in]


def run_without(annex: Annex, folder: Path, choice: str = "") -> None:
    """Run the core's tests in a copy that has no annex."""
    for name in PRODUCT:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / name)
    shutil.rmtree(folder / annex.folder)
    (folder / annex.attached_in).write_text(annex.without)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", "0", annex.core, "-k", choice],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]


@pytest.mark.slow
@pytest.mark.parametrize("annex", ANNEXES)
def test_a_core_works_without_its_annex(annex: Annex, tmp_path: Path) -> None:
    run_without(annex, tmp_path, annex.one)


@pytest.mark.slow
@pytest.mark.parametrize("annex", ANNEXES)
def test_the_core_s_tests_pass_without_its_annex(annex: Annex, tmp_path: Path) -> None:
    run_without(annex, tmp_path)
