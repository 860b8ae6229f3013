"""`tidegate import`, run as people run it."""

from __future__ import annotations

import json
import stat
from pathlib import Path

from shared.site import format
from tests.support.processes.command_line import tidegate

CONFIG = """
mqtt: {host: broker}
cameras:
  lobby:
    ffmpeg: {inputs: [{path: "rtsp://admin:hidden@10.0.0.7/a", roles: [detect]}]}
    detect: {fps: 5}
"""


def config(folder: Path, text: str = CONFIG) -> str:
    path = folder / "config.yml"
    path.write_text(text)
    return str(path)


def test_the_site_file_is_printed_and_the_table_is_next_to_it(tmp_path: Path) -> None:
    done = tidegate(tmp_path, "import", "frigate", config(tmp_path))
    site = format.read(done.stdout.encode(), "site.yaml")
    assert site.cameras["lobby"].password == "${SITE_LOBBY_PASSWORD}"
    assert "cameras.lobby.detect.fps\tmapped\tfps" in done.stderr
    assert "set SITE_LOBBY_PASSWORD" in done.stderr
    assert "tidegate apply -f site.yaml" in done.stderr
    assert "hidden" not in done.stdout + done.stderr


def test_a_saved_file_is_private_and_not_overwritten(tmp_path: Path) -> None:
    source, site, report = config(tmp_path), tmp_path / "site.yaml", tmp_path / "report.tsv"
    options = ("import", "frigate", source, "--save", str(site), "--report", str(report))
    tidegate(tmp_path, *options)
    assert stat.S_IMODE(site.stat().st_mode) == 0o600
    assert report.read_text().startswith("mqtt.host\tno counterpart\t")
    again = tidegate(tmp_path, *options, check=False)
    assert again.returncode == 1
    assert "--force" in again.stderr
    tidegate(tmp_path, *options, "--force")


def test_the_table_as_json(tmp_path: Path) -> None:
    found = json.loads(tidegate(tmp_path, "import", "frigate", config(tmp_path), "--json").stdout)
    assert sum(found["counts"].values()) == len(found["rows"]) == 4
    assert found["variables"][0]["name"] == "SITE_LOBBY_PASSWORD"
    assert "rtsp://10.0.0.7/a" in found["result"]


def test_a_broken_file_is_a_sentence(tmp_path: Path) -> None:
    done = tidegate(tmp_path, "import", "frigate", config(tmp_path, CONFIG + "  : : ["), check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "hidden" not in done.stderr


def test_a_proposal_for_a_scaled_object(tmp_path: Path) -> None:
    text = (
        "{apiVersion: keda.sh/v1alpha1, kind: ScaledObject, metadata: {name: x}, spec: {scaleTargetRef: {name: x}, "
        "maxReplicaCount: 4, triggers: [{type: kafka, metadata: {topic: t, lagThreshold: '50'}}]}}"
    )
    done = tidegate(tmp_path, "import", "keda", config(tmp_path, text), "--service-rate", "12", "--trace", "ramp")
    assert "maxReplicaCount: 4" in done.stdout
    assert "the input: " in done.stderr
    assert "tidegate audit cv --trace" in done.stderr
