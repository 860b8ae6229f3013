"""The package of a new user: the wheel of the sdist, in its own environment, run from the user's folders."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.paths import ROOT
from tests.support.uv_commands import run, uv
from tests.support.waiting import patience_s
from tidegate.demo import footage

# One environment for all tests, since its installation takes long.
pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(900), pytest.mark.xdist_group("wheel")]

# Importing it would leave a file behind, and end the process.
HOSTILE = "import os, pathlib; pathlib.Path(os.environ['HOSTILE_RAN']).touch(); os._exit(66)\n"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The sdist and, made of that alone, the wheel.

    Of a copy: a build walks all of the checkout, ignored folders too, in which other tests make images meanwhile.
    """
    dist, copy = tmp_path_factory.mktemp("dist"), tmp_path_factory.mktemp("copy")
    for name in run(["git", "-C", str(ROOT), "ls-files", "-co", "--exclude-standard"]).splitlines():
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, copy / name)
    run([uv(), "build", "--out-dir", str(dist), str(copy)])
    return next(dist.glob("*.tar.gz")), next(dist.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(built: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of programs of an environment that holds the locked packages and the wheel."""
    venv = tmp_path_factory.mktemp("environment") / "venv"
    run([uv(), "venv", "--python", sys.executable, str(venv)])
    install = [uv(), "pip", "install", "--python", str(venv / "bin" / "python")]
    run([*install, "--require-hashes", "-r", str(ROOT / "requirements" / "demo.txt")])
    run([*install, "--no-deps", str(built[1])])
    return venv / "bin"


@pytest.fixture(params=["empty", "hostile"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """An empty folder, or one whose owner has packages and modules of the same names: none of them may run."""
    here = tmp_path / "here"
    here.mkdir()
    if request.param == "hostile":
        for package in ("services", "services/cv", "services/ingest", "shared", "shared/runtime", "tidegate"):
            (here / package).mkdir()
            for module in ("__init__.py", "__main__.py"):
                (here / package / module).write_text(HOSTILE)
        for module in ("av.py", "numpy.py", "nats.py", "logging.py"):
            (here / module).write_text(HOSTILE)
    yield here
    assert not (tmp_path / "ran").exists(), "code of the folder was run"


def environment(folder: Path) -> dict[str, str]:
    """A stranger's, and the caches of this machine. A folder that is on Python's path by itself would hide a fault."""
    env = {k: v for k, v in os.environ.items() if k in ("HOME", "TIDEGATE_CACHE", "OPENBLAS_CORETYPE")}
    ran = str(folder.parent / "ran")
    return env | {"PATH": "/usr/bin:/bin", "COLUMNS": "200", "HOSTILE_RAN": ran, "TIDEGATE_DATA": str(folder / "data")}


def tidegate(bin_: Path, folder: Path, *arguments: str, timeout: float = 300) -> str:
    """Return its output. The command has to succeed."""
    done = subprocess.run(
        [str(bin_ / "tidegate"), *arguments],
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@contextmanager
def up(bin_: Path, folder: Path) -> Iterator[None]:
    """`tidegate up` in `folder`, ended as by Ctrl-C, which has to succeed."""
    log = folder.parent / "up.log"
    with log.open("w") as out:
        command = [str(bin_ / "tidegate"), "up", "--plain", "--port", "0"]
        process = subprocess.Popen(
            command, cwd=folder, env=environment(folder), stdout=out, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        deadline = time.monotonic() + patience_s()
        while not (folder / "data" / "run.json").exists():
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        yield
        process.send_signal(signal.SIGINT)
        assert process.wait(patience_s()) == 0, log.read_text()
    finally:
        process.kill()


def first_event(bin_: Path, folder: Path, subject: str) -> str:
    """The first line that `tidegate watch` prints."""
    command = [str(bin_ / "tidegate"), "watch", subject, "--json"]
    with subprocess.Popen(command, cwd=folder, env=environment(folder), stdout=subprocess.PIPE, text=True) as watching:
        assert watching.stdout is not None
        try:
            return watching.stdout.readline()
        finally:
            watching.kill()


def test_the_sdist_and_the_wheel_have_all_files_read_at_run_time(built: tuple[Path, Path]) -> None:
    sdist, wheel = built
    deployed = {f"{p.relative_to(ROOT)}" for p in (ROOT / "deploy" / "keda").rglob("*.yaml")}
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
    typed = {f"{package}/py.typed" for package in ("services", "shared", "tidegate")}
    assert {f"tidegate/{name}" for name in deployed} | typed <= held
    assert {name.split("/")[0] for name in held if ".dist-info/" not in name} == {"services", "shared", "tidegate"}
    with tarfile.open(sdist) as archive:
        shipped = {name.partition("/")[2] for name in archive.getnames()}
    assert deployed | typed <= shipped


def test_doctor_finds_nothing_bad(installed: Path, folder: Path) -> None:
    found = tidegate(installed, folder, "doctor")
    assert "one segment" in found


def test_simulate_finds_its_scaled_object(installed: Path, folder: Path) -> None:
    assert "demand" in tidegate(installed, folder, "simulate", "--trace", "ramp", "--service-rate", "2", "--hours", "1")


def test_the_printed_command_installs_what_up_lacks(
    built: tuple[Path, Path], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The environment has the wheel without extras, and no pip, as those of uv."""
    bin_ = tmp_path / "venv" / "bin"
    run([uv(), "venv", "--python", sys.executable, str(bin_.parent)])
    install = [uv(), "pip", "install", "--python", str(bin_ / "python")]
    run([*install, "--require-hashes", "-r", str(ROOT / "requirements" / "base.txt")])
    run([*install, "--no-deps", str(built[1])])
    refused = subprocess.run(
        [bin_ / "tidegate", "up"], cwd=folder, env=environment(folder), capture_output=True, text=True, check=False
    )
    sentence, remedy = refused.stderr.split("installed: ")
    assert (refused.returncode, sentence) == (1, "tidegate: 'tidegate up' needs server, cv, which are not ")
    assert remedy.startswith("uv pip install --python ") and f"{built[1]}[up]" in remedy
    monkeypatch.setenv("UV_CONSTRAINT", str(ROOT / "requirements" / "demo.txt"))
    run([uv(), *shlex.split(remedy)[1:]])
    with up(bin_, folder):
        tidegate(bin_, folder, "camera", "list")


def test_up_detects_in_a_file_and_ends_cleanly(installed: Path, folder: Path) -> None:
    shutil.copy(footage.embedded(footage.cache() / f"footage-{footage.VERSION}")[0], folder / "street.mp4")
    with up(installed, folder):
        tidegate(installed, folder, "camera", "add", "street", "street.mp4", "--loop")
        assert '"street"' in first_event(installed, folder, "detections")


def test_the_demo_loses_nothing(installed: Path, folder: Path) -> None:
    assert "lost" in tidegate(installed, folder, "demo", "--seconds", "20", timeout=400)
    assert (folder / "demo-output" / "summary.json").exists()
