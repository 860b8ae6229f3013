"""The sentence on a dead process, by what it printed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from shared.runtime.problems import LONGEST
from tidegate.local.last_error import secrets_of, sentence

LOGGING = """
from shared.runtime import telemetry
from shared.runtime.settings import BusSettings
telemetry.configure(BusSettings(log_format={format!r}), "cv")
log = telemetry.logger("cv")
log.info("metrics served", url="http://127.0.0.1:1/metrics")
{body}
"""
REPORTED = 'log.error("can\'t start", error="CV_MODEL=\'yolo\' can\'t be loaded: give a=b, \\"c\\"")'
RAISED = """
try:
    raise ValueError("no such layer\\nin the file")
except ValueError:
    log.exception("failed")
log.info("drained")
"""


def printed(script: str) -> str:
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


@pytest.mark.parametrize("form", ["text", "json"])
def test_finds_the_last_error_of_our_own_log(form: str) -> None:
    log = printed(LOGGING.format(format=form, body=REPORTED))
    assert sentence(2, log, ()) == "CV_MODEL='yolo' can't be loaded: give a=b, \"c\""
    log = printed(LOGGING.format(format=form, body=RAISED))
    assert sentence(1, log, ()) == "ValueError: no such layer in the file"


def test_finds_the_error_of_any_python() -> None:
    assert sentence(1, printed("import json\njson.loads('x')"), ()).startswith(
        "json.decoder.JSONDecodeError: Expecting"
    )
    chained = "try:\n    1/0\nexcept ZeroDivisionError as e:\n    raise MemoryError from e"
    assert sentence(1, printed(chained), ()) == "MemoryError"


@pytest.mark.parametrize(
    "code, log, found",
    [
        (2, "cv: CV_FPS='abc' can't be used: give a number\n", "cv: CV_FPS='abc' can't be used: give a number"),
        (1, "", "it exited with code 1 and printed nothing"),
        (0, "", "it ended by itself, without an error"),
        (-9, "ready\n", "it was killed by SIGKILL, as the system does when memory runs out"),
        (-11, "", "it was killed by SIGSEGV, a fault in native code, such as a driver or a codec"),
    ],
)
def test_describes_an_exit(code: int, log: str, found: str) -> None:
    assert sentence(code, log, ()) == found


def test_a_sentence_holds_no_credentials_and_no_controls(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("from-a-file\n")
    secrets = secrets_of(
        {"VLM_KEY": "sk-secret-1", "NATS_PASSWORD_FILE": str(tmp_path / "password"), "HOME": "/root", "X_TOKEN": "a"}
    )
    log = "Traceback (most recent call last):\n  F\nOSError: sk-secret-1 rtsp://me:pa55@cam/1 from-a-file \x1b[31mred\n"
    assert sentence(1, log, secrets) == "OSError: *** rtsp://***@cam/1 *** red"


def test_a_sentence_of_endless_output_is_short() -> None:
    assert len(sentence(1, "x" * 65_536, ())) == LONGEST
    assert sentence(1, "\n" * 65_536, ()) == "it exited with code 1 and printed nothing"
