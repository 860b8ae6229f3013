"""Live video on the page of a camera."""

from __future__ import annotations

import asyncio
import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from nats.aio.client import Client

from shared.runtime.tasks import end
from tests.support.console.browser import becomes, browsing
from tests.support.console.cameras import now, say, status
from tests.support.console.people import add_camera, console_on
from tests.support.video import footage
from tests.support.video.video_world import filming
from tests.support.video.walking_people import Walk, detections, publish
from tests.support.waiting import patience_s
from tidegate.local.server import NatsServer

if TYPE_CHECKING:
    pass
from tests.support.console.absent import missing

pytestmark = pytest.mark.slow


def at_work(admin: Client, start: dt.datetime, after_s: float) -> asyncio.Task[None]:
    """Publish detections for each second of a camera's video, `after_s` late."""

    async def run() -> None:
        walk = Walk(0, 600, (0.2, 0.9), (0.8, 0.9))
        for n, event in enumerate(detections([walk], 600, camera="cam", start=start)):
            await asyncio.sleep(max(0.0, (start - now()).total_seconds() + n + 1 + after_s))
            await publish(admin, [event])

    return asyncio.create_task(run())


# Of `count` consecutive frames, the number that have something drawn over them.
LIT = """async (count) => {
  const video = document.querySelector("td-player video"), canvas = document.querySelector("td-player canvas");
  let lit = 0;
  for (let n = 0; n < count; n += 1) {
    await new Promise((resolve) => video.requestVideoFrameCallback(resolve));
    await new Promise((resolve) => requestAnimationFrame(resolve));
    const {width, height} = canvas;
    const data = width ? canvas.getContext("2d").getImageData(0, 0, width, height).data : [];
    if (data.some((value, k) => k % 4 === 3 && value > 0)) lit += 1;
  }
  return lit;
}"""


async def test_live_video_has_detections_drawn_over_its_frames(
    server: NatsServer, admin: Client, tmp_path: Path
) -> None:
    """Detections come more than a second after the video: the picture waits for them, and says how late it is."""
    path = footage.make(tmp_path / "v.mp4", frames=3000)
    await add_camera(admin, "cam")
    await say(admin, status("cam", "online"), "1")
    async with (
        console_on(server, admin) as console,
        browsing(console, "root", "admin", allowed=missing) as page,
        filming(admin, path) as camera,
    ):
        working = at_work(admin, camera.start, 1.2)
        try:
            await page.goto(f"{console.url}#/cameras/cam")
            await page.wait_for_selector(".delay:not([hidden])")
            async with asyncio.timeout(patience_s()):
                while await page.evaluate(LIT, 25) < 25:
                    pass
            assert " behind" in await page.inner_text(".delay")
            await page.goto(f"{console.url}#/cameras?live=1")
            await page.wait_for_selector(".lives td-player")
            await becomes(page, "document.querySelector('.lives video').currentTime > 0")
            await page.uncheck("input[type=checkbox]")
            await page.wait_for_selector(".tile")
            await becomes(page, "document.querySelectorAll('td-player').length === 0")
        finally:
            await end(working)
