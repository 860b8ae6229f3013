"""Mistakes at the command line, missing parts of the machine, and Ctrl-C: one sentence, never a traceback."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from shared.contract import catalog
from shared.runtime import child, install
from tests.support.paths import ROOT
from tests.support.processes.command_line import COMMAND
from tidegate.commands import tidegate

SERVICES = ("analytics", "cv", "embed", "ingest", "pictures", "recorder", "scaler", "search", "vlm", "webhook")
# The commands that use or start a server, each with its minimum of arguments.
WITH_DATA: tuple[tuple[str, ...], ...] = (
    ("up", "--plain", "--port", "0"),
    ("setup",),
    ("reindex",),
    ("watch",),
    ("find", "a dog"),
    ("ask", "who?", "--camera", "lobby"),
    ("summarize", "--camera", "lobby"),
    ("explain",),
    ("tracks", "lobby"),
    ("segment", "MEDIA/1"),
    ("alert", "list"),
    ("camera", "list"),
    ("camera", "add", "lobby", "rtsp://127.0.0.1:9/x"),
    ("camera", "remove", "lobby"),
    ("rules", "list"),
    ("rules", "show", "lobby"),
    ("dlq", "list"),
    ("dlq", "replay", "--all"),
)
# Runs within `python -m` before any product code: at the import of that module it sends SIGINT, or finds nothing.
AT_IMPORT = """
import os, signal, sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == os.environ.get("INTERRUPT_AT"):
            os.kill(os.getpid(), signal.SIGINT)
        if name.partition(".")[0] in os.environ.get("MISSING", "").split():
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Finder())
"""


def run(data: Path, *arguments: str) -> Result:
    """The command in this process, on a data directory. What it raises beyond an exit is a fault of ours."""
    done = CliRunner().invoke(tidegate, arguments, env={"TIDEGATE_DATA": str(data), "NATS_URL": None, "COLUMNS": "200"})
    assert done.exception is None or isinstance(done.exception, SystemExit), repr(done.exception)
    return done


def with_hook(
    folder: Path, *arguments: str, command: Sequence[str] = COMMAND, **environment: str
) -> subprocess.CompletedProcess[str]:
    """`command` as `AT_IMPORT` has it, without a server that the environment names."""
    (folder / "hook").mkdir(exist_ok=True)
    (folder / "hook" / "sitecustomize.py").write_text(AT_IMPORT)
    env = {k: v for k, v in os.environ.items() if not k.startswith("NATS_")}
    paths = os.pathsep.join((str(folder / "hook"), str(ROOT)))
    return subprocess.run(
        [*command, *arguments],
        env=env | {"PYTHONPATH": paths, "TIDEGATE_DATA": str(folder / "data")} | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def is_one_sentence(text: str) -> bool:
    return text.startswith("tidegate: ") and text.count("\n") == 1 and "Traceback" not in text


# ---- data directories


@pytest.mark.parametrize("arguments", WITH_DATA, ids=" ".join)
def test_unusable_data_is_reported(arguments: tuple[str, ...], tmp_path: Path) -> None:
    """Below a file nothing can be made or read; the superuser may do everything else."""
    (tmp_path / "file").write_text("")
    data = tmp_path / "file" / "data"
    done = run(tmp_path, *arguments, "--data", str(data))
    assert done.exit_code == 1, done.stderr
    assert is_one_sentence(done.stderr), done.stderr
    assert str(data) in done.stderr and "--data" in done.stderr


def test_data_that_the_system_refuses_is_reported(tmp_path: Path) -> None:
    done = run(tmp_path, "up", "--plain", "--port", "0", "--data", "/proc/tidegate")
    assert done.exit_code == 1 and is_one_sentence(done.stderr), done.stderr
    assert "/proc/tidegate" in done.stderr and "--data" in done.stderr


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[]", b'{"url": 5}', b'{"url": "", "pid": 1}'])
def test_an_unreadable_run_json_is_reported(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "admin").write_text("secret")
    (tmp_path / "run.json").write_bytes(content)
    done = run(tmp_path, "camera", "list")
    assert done.exit_code == 1 and is_one_sentence(done.stderr), done.stderr
    assert "run.json" in done.stderr and "tidegate up" in done.stderr


def test_a_stale_run_json_is_reported(tmp_path: Path) -> None:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "admin").write_text("secret")
    (tmp_path / "run.json").write_text('{"url": "nats://127.0.0.1:9", "pid": 1}')
    done = run(tmp_path, "camera", "list")
    assert done.exit_code == 1 and "Traceback" not in done.stderr, done.stderr
    assert is_one_sentence(done.stderr.splitlines(keepends=True)[-1]) and "tidegate up" in done.stderr


# ---- numbers


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        (("up", "--speed", "0"), "--speed"),
        (("up", "--speed", "-1"), "--speed"),
        (("up", "--speed", "nan"), "--speed"),
        (("up", "--speed", "inf"), "--speed"),
        (("up", "--port", "99999"), "--port"),
        (("up", "--port", "-1"), "--port"),
        (("chaos", "--workers", "0"), "--workers"),
        (("chaos", "--kills", "-1"), "--kills"),
        (("chaos", "--backlog", "0"), "--backlog"),
        (("chaos", "--each", "--kills", "3"), "--kills"),
        (("chaos", "--each", "--only", "no such"), "no fault has"),
        (("chaos", "--only", "clock"), "--each"),
        (("demo", "--seconds", "0"), "--seconds"),
        (("find", "x", "--min-score", "nan"), "--min-score"),
        (("tracks", "lobby", "--fps", "nan"), "--fps"),
        (("ask", "x", "--camera", "a", "--wait", "nan"), "--wait"),
        (("simulate", "--trace", "days", "--service-rate", "nan"), "--service-rate"),
        (("simulate", "--trace", "days", "--service-rate", "inf"), "--service-rate"),
        (("simulate", "--trace", "days", "--service-rate", "1", "--hours", "inf"), "--hours"),
        (("simulate", "--trace", "days", "--service-rate", "1", "--seed", "-1"), "--seed"),
        (("simulate", "--trace", "days", "--service-rate", "1", "--cost-per-hour", "nan"), "--cost-per-hour"),
        (("simulate", "--trace", "days", "--service-rate", "1", "--cost-per-hour", "-3"), "--cost-per-hour"),
        (("audit", "--trace", "days", "--service-rate", "nan"), "--service-rate"),
        (("audit", "--trace", "days", "--service-rate", "1", "--price", "-3"), "--price"),
        (("audit", "--trace", "days", "--service-rate", "1", "--loss-budget", "2"), "--loss-budget"),
        (("audit", "--trace", "days", "--service-rate", "1", "--serve", "99"), "--serve"),
        (("audit", "--trace", "days", "--min-replicas", "3", "--max-replicas", "2"), "--min-replicas 3"),
        (("threshold", "--rate", "1", "--latency", "1", "--hold", "-1"), "--hold"),
        (("dlq", "replay", "-3"), "-3"),
    ],
)
def test_an_unreasonable_number_is_refused_by_name(arguments: tuple[str, ...], option: str, tmp_path: Path) -> None:
    done = run(tmp_path, *arguments)
    assert done.exit_code in (1, 2), done.stdout
    assert option in done.stderr and "Traceback" not in done.stderr, done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("simulate", "--trace", "ramp", "--service-rate", "1e-300"), "--service-rate"),
        (("simulate", "--trace", "ramp", "--service-rate", "2", "--batch", "99999999999999999999"), "--batch"),
        (("simulate", "--trace", "", "--service-rate", "2"), "neither a file nor one of days"),
        (("simulate", "--trace", "/", "--service-rate", "2"), "neither a file nor one of days"),
        (("audit", "--trace", "/"), "neither a file nor one of days"),
        (("audit", "--trace", "days"), "give --service-rate"),
        (("audit", "ingest", "--trace", "days"), "take one of cv, embed, vlm"),
        (("audit", "--trace", "days", "--service-rate", "2", "--png", "x.jpg"), "--png x.jpg names no format"),
        (("audit", "--since", "soon"), "--since 'soon' is no time"),
        (("trace", "export", "--camera", "a b"), "camera id 'a b' can't be used"),
        (("trace", "export", "vlm", "--camera", "lobby"), "leave it out"),
        (("threshold", "--rate", "1e308", "--latency", "1e308"), "--rate"),
        (("explain", ""), "SERVICE '' can't be used"),
        (("explain", "a b"), "SERVICE 'a b' can't be used"),
        (("explain", "*"), "SERVICE '*' can't be used"),
        (("find", "  "), "give one of text, image and like, or labels"),
        (("find", "--label", ""), "give one of text, image and like, or labels"),
        (("find", "--like", ""), "give one of text, image and like, or labels"),
        (("find", "x", "--since", ""), "--since '' is no time"),
        (("find", "--image", "/dev/null"), "--image /dev/null is empty"),
        (("tracks", "lobby", "--until", ""), "--until '' is no time"),
        (("ask", "x", "--camera", "a", "--since", ""), "--since '' is no time"),
        (("watch", "détections"), "did you mean 'detections'?"),
        (("rules", "check", "/"), "is a directory"),
        (("", "x"), "there is no command ''"),
    ],
)
def test_meaningless_arguments_are_refused(arguments: tuple[str, ...], words: str, tmp_path: Path) -> None:
    done = run(tmp_path, *arguments)
    assert done.exit_code in (1, 2) and words in done.stderr, done.stderr


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("NATS_URL", "nats://"),
        ("NATS_URL", "nats://127.0.0.1:99999"),
        ("NATS_URL", "http://127.0.0.1:4222"),
        ("NATS_URL", "nats://127.0.0.1:4222,"),
        ("NATS_URL", "nats://[::1"),
        ("NATS_URL", "nats://me:p[hunter2]w@127.0.0.1:4222"),
        ("NATS_URL", "nats://me:hunter2,w@127.0.0.1:4222"),
        ("NATS_CA", "/nowhere/ca.pem"),
        ("NATS_CA", __file__),
        ("NATS_CREDS", "/nowhere/admin.creds"),
    ],
)
def test_a_wrong_server_name_is_reported_immediately(variable: str, value: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(tidegate, ["camera", "list"], env={"NATS_URL": "nats://127.0.0.1:9", variable: value})
    assert done.exit_code == 1 and is_one_sentence(done.stderr), done.stderr
    assert done.stderr.startswith(f"tidegate: {variable}=") and "hunter2" not in done.stderr, done.stderr


# ---- files to write


@pytest.mark.parametrize("name", ["nowhere/days.png", "days.docx", "days"])
def test_an_unwritable_plot_is_reported_before_the_simulation(name: str, tmp_path: Path) -> None:
    plot = tmp_path / name
    done = run(tmp_path, "simulate", "--trace", "ramp", "--service-rate", "2", "--hours", "1", "--plot", str(plot))
    assert (done.exit_code, done.stdout) == (1, ""), done.stdout
    assert is_one_sentence(done.stderr) and f"--plot {plot}" in done.stderr, done.stderr
    assert not plot.exists() and not list(tmp_path.glob(".*part*"))


# ---- pipes


def heard_by_nobody(command: Sequence[str]) -> tuple[int, str]:
    """Return its exit code and standard error; the reader of its standard output closes before the first word."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, timeout=120, check=False)
    finally:
        os.close(writing)
    return done.returncode, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("service", SERVICES)
def test_the_help_of_a_service_may_be_cut_short(service: str) -> None:
    code, error = heard_by_nobody([sys.executable, "-m", f"services.{service}", "--help"])
    assert error == "" and code in (0, 1), error


@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        ("simulate", "--help"),
        ("schema",),
        ("rules", "schema"),
        ("threshold", "--rate", "1", "--latency", "1"),
    ],
    ids=" ".join,
)
def test_the_output_of_a_command_may_be_cut_short(arguments: tuple[str, ...]) -> None:
    code, error = heard_by_nobody([*COMMAND, *arguments])
    assert error == "" and code in (0, 1), error


# ---- Ctrl-C


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("click", ("--help",)),
        ("tidegate.commands.camera", ("camera", "list")),
        ("nats.aio.client", ("camera", "list")),
        ("rich.console", ("camera", "list")),
        ("tidegate.local.running", ("setup",)),
        ("tidegate.local.stack", ("up",)),
        ("tidegate.view.monitor", ("up",)),
        ("numba", ("simulate", "--trace", "ramp", "--service-rate", "2")),
        ("tidegate.demo.bank", ("demo",)),
        ("shared.client.tracks", ("tracks", "lobby")),
    ],
)
def test_ctrl_c_during_loading_ends_a_command(module: str, arguments: tuple[str, ...], tmp_path: Path) -> None:
    done = with_hook(tmp_path, *arguments, INTERRUPT_AT=module)
    assert done.returncode == 130, (done.returncode, done.stderr)
    assert done.stderr.count("\n") <= 1 and "Traceback" not in done.stderr, done.stderr


@pytest.mark.parametrize("module", sorted({service.module for service in catalog.SERVICES}))
@pytest.mark.parametrize("at", ["asyncio", "nats.aio.client"])
def test_ctrl_c_during_loading_ends_a_service(module: str, at: str, tmp_path: Path) -> None:
    done = with_hook(tmp_path, command=child.python(module), INTERRUPT_AT=at)
    assert (done.returncode, done.stderr) == (130, "")


@pytest.mark.parametrize("arguments", [("camera", "list"), ("setup",), ("watch",), ("find", "a dog")], ids=" ".join)
def test_ctrl_c_ends_a_command_that_waits_for_a_server(arguments: tuple[str, ...]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(120)
        environment = os.environ | {"NATS_URL": f"nats://127.0.0.1:{silent.getsockname()[1]}"}
        process = subprocess.Popen(
            [*COMMAND, *arguments], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        with silent.accept()[0]:
            process.send_signal(signal.SIGINT)
            _, error = process.communicate(timeout=60)
    assert process.returncode == 130, (process.returncode, error)
    assert error.count("\n") <= 1 and "Traceback" not in error, error


# ---- extras


@pytest.mark.parametrize(
    ("module", "extra", "arguments"),
    [
        ("matplotlib", "simulate", ("simulate", "--trace", "ramp", "--service-rate", "2", "--plot", "x.png")),
        ("numpy", "simulate", ("simulate", "--trace", "ramp", "--service-rate", "2")),
        ("matplotlib", "simulate", ("audit", "--trace", "ramp", "--service-rate", "2", "--png", "x.png")),
        ("numpy", "simulate", ("audit", "--trace", "ramp", "--service-rate", "2")),
        ("numpy", "simulate", ("trace", "export")),
        ("numpy", "demo", ("demo",)),
        ("matplotlib", "demo", ("demo",)),
        ("PIL", "demo", ("demo",)),
        ("numpy", "demo", ("chaos",)),
        ("PIL", "demo", ("rules", "draw", "lobby")),
    ],
)
def test_a_missing_package_is_named_with_its_extra(
    module: str, extra: str, arguments: tuple[str, ...], tmp_path: Path
) -> None:
    done = with_hook(tmp_path, *arguments, MISSING=module)
    assert done.returncode == 1 and is_one_sentence(done.stderr), done.stderr
    assert module in done.stderr and done.stderr.endswith(f": {install.command(extra)}\n")


# The base install has none of these.
EXTRAS = "numpy openvino lancedb pyarrow scipy aiohttp grpc matplotlib numba PIL aio_rtsp_toolkit skvideo torch"


@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        ("schema",),
        ("doctor",),
        ("setup",),
        ("camera", "list"),
        ("dlq", "list"),
        ("watch",),
        ("find", "a dog"),
        ("ask", "who?", "--camera", "lobby"),
        ("explain",),
        ("tracks", "lobby"),
        ("threshold", "--rate", "1", "--latency", "1"),
    ],
    ids=" ".join,
)
def test_the_base_install_is_enough_for(arguments: tuple[str, ...], tmp_path: Path) -> None:
    done = with_hook(tmp_path, *arguments, MISSING=EXTRAS)
    assert "Traceback" not in done.stderr and "pip install" not in done.stderr, done.stderr


# ---- names


def test_an_unknown_command_is_answered_with_the_nearest_name(tmp_path: Path) -> None:
    for arguments, near in ((("fnd", "x"), "find"), (("camera", "lst"), "list"), (("dlq", "reply"), "replay")):
        done = run(tmp_path, *arguments)
        assert done.exit_code == 2 and near in done.stderr, done.stderr
