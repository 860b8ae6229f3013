"""The units of systemd: valid, confined, and in step with the code that they start."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from shared.contract import catalog
from shared.runtime.settings import BusSettings
from tests.support.paths import ROOT
from tests.support.processes.command_line import COMMAND

UNITS = ROOT / "deploy/systemd"
# An instance of each template.
INSTANCES = {
    "tidegate.service": "tidegate.service",
    "tidegate-nats.service": "tidegate-nats.service",
    "tidegate@.service": "tidegate@ingest.service",
    "tidegate-workers@.service": "tidegate-workers@cv.service",
}
# Of 10. systemd's own threshold for a unit that is well confined is 4; Debian's nats-server.service has 9.
MOST_EXPOSED = 2.0
# The seconds that workers may take to drain.
DRAIN_S = 30


def unit(name: str) -> dict[str, list[str]]:
    """All values of each key of [Service]."""
    lines = [line for line in (UNITS / name).read_text().splitlines() if not line.startswith("#")]
    body = "\n".join(lines).partition("[Service]\n")[2].partition("\n[")[0]
    values: dict[str, list[str]] = {}
    for line in filter(None, body.splitlines()):
        key, _, value = line.partition("=")
        values.setdefault(key, []).append(value)
    return values


def test_each_unit_is_tested() -> None:
    assert {path.name for path in UNITS.glob("*.service")} == set(INSTANCES)


@pytest.mark.foreign
@pytest.mark.parametrize("name", INSTANCES)
def test_systemd_takes_the_unit_and_finds_it_confined(name: str, tmp_path: Path) -> None:
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not installed")
    path = tmp_path / INSTANCES[name]
    # The programs of this machine are elsewhere.
    path.write_text(re.sub(r"=/opt/tidegate/bin/\S+", "=/bin/true", (UNITS / name).read_text()))
    for check in (["verify"], ["security", "--offline=yes", f"--threshold={MOST_EXPOSED * 10:.0f}"]):
        done = subprocess.run(["systemd-analyze", *check, str(path)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        # `verify` only warns of an unknown key.
        assert check[0] != "verify" or not done.stderr


@pytest.mark.parametrize("name", INSTANCES)
def test_no_secret_is_in_the_environment_or_in_an_argument(name: str) -> None:
    values = unit(name)
    assignments = " ".join(values.get("Environment", [])).split()
    secrets = [one for one in assignments if re.match(r"[A-Z_]*(PASSWORD|SECRET|KEY)=", one)]
    assert not secrets and "PASSWORD" not in " ".join(values["ExecStart"])
    known = {f"{field.upper()}{end}" for field in BusSettings.__struct_fields__ for end in ("", "_FILE")}
    assert {one.partition("=")[0] for one in assignments if one.startswith(("NATS_", "LOG_"))} <= known


@pytest.mark.parametrize("name", sorted(INSTANCES.keys() - {"tidegate-nats.service"}))
def test_a_drain_ends_before_systemd_kills(name: str) -> None:
    assert float(unit(name)["TimeoutStopSec"][0]) > DRAIN_S
    assert unit(name)["KillMode"] == ["mixed"]


def test_each_command_exists() -> None:
    for name in ("tidegate.service", "tidegate-workers@.service"):
        line = unit(name)["ExecStart"][0].replace("%S", "/var/lib").replace("%i", "cv").replace("$TIDEGATE_OPTIONS", "")
        command = line.split()[1:]
        done = subprocess.run([*COMMAND, *command, "--help"], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    [start] = unit("tidegate@.service")["ExecStart"]
    modules = {service.module for service in catalog.SERVICES}
    assert start.endswith(" -m services.%i") and "services.ingest" in modules


def test_a_drop_in_changes_what_the_unit_has() -> None:
    for path in UNITS.glob("*.conf"):
        if path.name != "nats.conf":
            parser = configparser.RawConfigParser(strict=False)
            parser.read_string(path.read_text())
            assert parser.sections() == ["Service"], path
    front = (UNITS / "vlm-front.conf").read_text()
    record = catalog.find("vlm-front")
    assert all(f"{key}={value}" in front for key, value in record.environment.items()) and record.module in front
    assert {role.identity for role in catalog.find("console").roles} == set(
        re.findall(r"LoadCredential=([\w-]+):", (UNITS / "console.conf").read_text())
    )
