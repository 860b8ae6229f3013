"""The HEALTHCHECK of an image: 0 if the service lives, also over TLS, and else 1 and the reason."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from shared.runtime.pages import monitoring
from shared.runtime.ports import free_port
from shared.runtime.settings import BusSettings
from shared.runtime.telemetry import Health
from tests.support.servers.certificates import Authority


def probe(**environment: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "shared.runtime.probe"], env=os.environ | environment, capture_output=True, text=True
    )
    return done.returncode, done.stdout


@pytest.mark.parametrize("secured", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_a_live_service_passes_and_a_hung_one_fails(secured: bool, host: str, tmp_path: Path) -> None:
    pair = Authority(tmp_path).issue("cv")
    files = {"metrics_cert": pair.cert, "metrics_key": pair.key} if secured else {}
    given = {"METRICS_HOST": host, "METRICS_CERT": pair.cert if secured else ""}
    health = Health()
    port = str(monitoring.serve(BusSettings(metrics_host=host, **files), health))
    assert probe(METRICS_PORT=port, **given) == (0, "ok\n")
    health.limit_s = -1.0
    code, output = probe(METRICS_PORT=port, **given)
    assert code == 1 and "has not moved" in output


def test_no_answer_fails() -> None:
    port = free_port(0)
    code, output = probe(METRICS_PORT=str(port))
    assert code == 1 and f"METRICS_PORT={port}" in output
