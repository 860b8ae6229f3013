"""A letterboxed export in a real worker: the frame keeps its aspect, and boxes are shares of the frame."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
from nats.aio.client import Client

from services.cv.detectors import load
from shared.contract import names
from shared.contract.events import Detections
from shared.contract.segment import to_headers
from tests.support.processes.cv_worker import detecting, segment_head
from tests.support.processes.service import settled
from tests.support.video import footage
from tests.support.video.exports import Export
from tidegate.local.server import NatsServer


async def test_boxes_of_a_letterboxed_export_are_shares_of_the_frame(
    server: NatsServer, admin: Client, tmp_path: Path
) -> None:
    """Of 320x240, an input of 64x64 shows the rows 8 to 56. The box is at 20 to 44: a quarter to three quarters."""
    array = np.zeros((1, 6, 84), np.float32)
    array[0, :, 7] = (32, 32, 32, 24, 0.9, 0)
    detector = load(Export(tmp_path).output("output0", array).save())
    video = footage.make(tmp_path / "second.mp4", frames=5).read_bytes()
    head = segment_head(0, frames=5, size=(320, 240))
    await admin.jetstream().publish(names.media("lobby"), video, headers=to_headers(head))
    async with detecting(server, detector=detector):
        await settled(admin, "MEDIA", "cv")
    js = admin.jetstream()
    state = (await js.stream_info("EVENTS")).state
    found = [await js.get_msg("EVENTS", seq, direct=True) for seq in range(state.first_seq, state.last_seq + 1)]
    (event,) = [msgspec.json.decode(m.data or b"", type=Detections) for m in found if "detections" in (m.subject or "")]
    assert event.model == "model" and event.frames
    for frame in event.frames:
        assert [o.label for o in frame.objects] == ["red"]
        assert frame.objects[0].box == pytest.approx((0.25, 0.25, 0.75, 0.75), abs=1e-3)
