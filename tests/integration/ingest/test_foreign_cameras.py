"""Cameras that are not ours: GStreamer's RTSP server, live, over TCP and UDP, with a password, H.264 and H.265."""

from __future__ import annotations

import io
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import pytest
from nats.aio.client import Client

from shared.runtime.ports import free_port
from tests.support.paths import ROOT
from tests.support.processes.ingest_process import Bus, Ingest, add, assert_gapless, bus, frames_of, start
from tests.support.waiting import until

__all__ = ["bus", "start"]

pytestmark = [pytest.mark.foreign, pytest.mark.xdist_group("foreign")]

PYTHON = "/usr/bin/python3"
NEEDS = """
import gi
gi.require_version("GstRtspServer", "1.0")
from gi.repository import Gst, GstRtspServer
Gst.init(None)
missing = [e for e in ("x264enc", "x265enc", "rtph264pay", "alawenc") if not Gst.ElementFactory.find(e)]
raise SystemExit(" ".join(missing) or 0)
"""


@pytest.fixture(scope="module")
def foreign() -> Iterator[tuple[str, str]]:
    """(URL of the open server, address of the one with a password)."""
    if not Path(PYTHON).exists() or subprocess.run([PYTHON, "-c", NEEDS], capture_output=True).returncode:
        pytest.skip(
            "apt-get install gir1.2-gst-rtsp-server-1.0 python3-gi gstreamer1.0-plugins-good -bad -ugly: not here"
        )
    ports = [str(free_port(0)), str(free_port(0))]
    command = [PYTHON, str(ROOT / "tests/support/servers/gst_server.py"), *ports, "bob", "s3cr3t:p@ss"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    yield f"rtsp://127.0.0.1:{ports[0]}", f"127.0.0.1:{ports[1]}"
    process.kill()
    process.wait(5)


async def test_every_kind_of_camera_is_published(
    admin: Client, bus: Bus, start: Callable[..., Ingest], foreign: tuple[str, str]
) -> None:
    url, private = foreign
    # Ten encoders start together, on a machine that may be busy.
    ingest = start(INGEST_TIMEOUT_S="60")
    names = [f"{path}-{transport}" for path in ("h264", "h265", "reordered", "sound") for transport in ("tcp", "udp")]
    for name in names:
        path, transport = name.split("-")
        await add(admin, name, f"{url}/{path}", transport=transport)
    await add(admin, "known", f"rtsp://bob:s3cr3t%3Ap%40ss@{private}/h264", transport="udp")
    await add(admin, "unknown", f"rtsp://bob:wrong@{private}/h264")
    await add(admin, "nobody", f"rtsp://{private}/h264")
    await until(lambda: all(len(bus.of(n)) >= 4 for n in [*names, "known"]))
    await until(lambda: bus.states("unknown") and bus.states("nobody"))
    for segment, payload, _ in bus.segments:
        if segment.key_seq is None:
            assert frames_of(payload) == segment.frames, segment.camera
    assert {s.codec for s in bus.of("h265-udp")} == {"hevc"}
    assert any(_reorders(payload) for s, payload, _ in bus.segments if s.camera == "reordered-tcp")
    for name in names:
        assert_gapless(bus.of(name))
        assert bus.states(name) == ["online"]
    reasons = {e["camera"]: e["reason"] for e in bus.events if e["state"] == "offline"}
    assert reasons.keys() == {"unknown", "nobody"}
    assert reasons["unknown"].startswith("the camera refuses this user or password: ")
    assert reasons["nobody"].startswith("the camera asks for a user and a password: ")
    assert "s3cr3t" not in ingest.log and "wrong" not in ingest.log
    assert ingest.stop() == 0


def _reorders(payload: bytes) -> bool:
    with av.open(io.BytesIO(payload)) as container:
        shown = [p.pts for p in container.demux(video=0) if p.size and p.pts is not None]
    return shown != sorted(shown)
