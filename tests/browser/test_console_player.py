"""The player in a real browser: what a camera sends is shown, near the live edge, and with what was seen in it."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from nats.aio.client import Client

from shared.contract.segment import rfc3339
from tests.support.console.browser import becomes, browsing
from tests.support.console.people import add_camera, console_on
from tests.support.video import footage
from tests.support.video.video_world import dated, filming, publish, s
from tests.support.waiting import until
from tidegate.local.server import NatsServer

if TYPE_CHECKING:
    from playwright.async_api import Page, WebSocketRoute

pytestmark = pytest.mark.slow

SHOW = """async ({camera, lag}) => {
  const {player} = await import("./parts/player.js");
  const {Overlay} = await import("./parts/overlay.js");
  const made = window.made = player(camera, {lag});
  made.addEventListener("unplayable", (event) => { window.unplayable = event.detail; });
  // The page that is open fills its own part when it comes.
  document.body.prepend(made);
  window.overlay = new Overlay(made.canvas, made.video, (time) => made.wallTime(time));
}"""
# The shown frame and its capture time: the brightness of the picture's corner encodes the frame's number.
LOOK = """() => new Promise((resolve) => made.video.requestVideoFrameCallback((_, {mediaTime}) => {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [made.video.videoWidth, made.video.videoHeight];
  const context = canvas.getContext("2d");
  context.drawImage(made.video, 0, 0);
  const [red] = context.getImageData(0, 0, 1, 1).data;
  resolve({red, wall: made.wallTime(mediaTime), width: canvas.width});
}))"""

CORNER = """() => {
  const context = document.createElement("canvas").getContext("2d");
  context.drawImage(clip, 0, 0);
  return context.getImageData(0, 0, 1, 1).data[0];
}"""


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two minutes, in GOPs of two seconds, with B-frames."""
    return footage.make(tmp_path_factory.mktemp("video") / "v.mp4", frames=3000, gop=50, b_frames=2)


@contextlib.asynccontextmanager
async def looking(server: NatsServer, admin: Client) -> AsyncIterator[Page]:
    """A page with a camera that has no video yet."""
    await add_camera(admin, "cam")
    async with (
        console_on(server, admin) as console,
        # A picture that there is not yet is an error to the browser.
        browsing(console, "root", "admin", allowed=lambda text: "404" in text) as page,
    ):
        yield page
        await page.evaluate("made.remove()")


async def test_live_video_is_shown_with_its_time(server: NatsServer, admin: Client, path: Path) -> None:
    async with looking(server, admin) as page, filming(admin, path) as camera:
        await page.evaluate(SHOW, {"camera": "cam", "lag": 0})
        await becomes(page, "made.video.currentTime > 0 && !made.video.paused")
        for _ in range(5):
            seen: dict[str, Any] = await page.evaluate(LOOK)
            assert seen["width"] == 320
            # A frame's corner is five brighter than the one's before it.
            n = round((seen["wall"] / 1000 - camera.start.timestamp()) * 25)
            assert min((seen["red"] - 5 * n) % 256, (5 * n - seen["red"]) % 256) < 20, (seen, n)
            await asyncio.sleep(0.5)
        assert await page.is_hidden("td-player .note")
        # It does not fall behind, and its buffer stays short.
        await until(lambda: camera.sent > 26)
        await becomes(page, "made.video.buffered.length == 1 && made.video.buffered.start(0) > 61")
        times = await page.evaluate(
            "[made.video.buffered.start(0), made.video.currentTime, made.video.buffered.end(0)]"
        )
        assert times[1] - times[0] < 25
        assert times[2] - times[1] < 8
        # A player that fell behind returns to the live edge.
        await page.evaluate("made.video.currentTime = made.video.buffered.start(0) + 1")
        await becomes(page, "made.video.buffered.end(0) - made.video.currentTime < 8")


async def test_detections_are_drawn_over_their_frame(server: NatsServer, admin: Client, path: Path) -> None:
    async with looking(server, admin) as page, filming(admin, path) as camera:
        await page.evaluate(SHOW, {"camera": "cam", "lag": 1.5})
        await becomes(page, "made.video.currentTime > 0")
        # Five frames a second: the left side of each frame's box encodes its number.
        frames = [
            {
                "time": (camera.start + dt.timedelta(seconds=n / 5)).isoformat(),
                "objects": [{"label": "person", "score": 0.9, "box": [n / 1000, 0.2, n / 1000 + 0.3, 0.8]}],
            }
            for n in range(280)
        ]
        await page.evaluate("(frames) => overlay.detections({frames})", frames)
        for _ in range(8):
            seen = await page.evaluate("""async () => {
              await new Promise((resolve) => made.video.requestVideoFrameCallback(resolve));
              const [mark] = overlay.marks;
              return {left: mark?.box[0], wall: made.currentWallTime};
            }""")
            n = (seen["wall"] / 1000 - camera.start.timestamp()) * 5
            assert abs(seen["left"] * 1000 - n) < 1.5, (seen, n)
            await asyncio.sleep(0.3)
        box, video = await page.locator("td-player canvas").bounding_box(), "td-player video"
        around = await page.locator(video).bounding_box()
        assert box and around and abs(box["height"] - around["height"]) < 2 and box["width"] < around["width"]
        lit = """() => {
          const {width, height} = made.canvas;
          const data = made.canvas.getContext("2d").getImageData(0, 0, width, height).data;
          return data.filter((value, n) => n % 4 === 3 && value > 0).length / (width * height);
        }"""
        assert 0.005 < await page.evaluate(lit) < 0.2
        track = {
            "id": "e1-7",
            "label": "person",
            "path": [{"time": f["time"], "box": f["objects"][0]["box"]} for f in frames],
        }
        await page.evaluate("(track) => overlay.tracks({tracks: [track]})", track)
        await becomes(page, "overlay.marks.length === 1 && overlay.marks[0].id === 'e1-7'")
        await page.evaluate("overlay.end()")
        assert await page.evaluate(lit) == 0


async def test_unplayable_video_is_shown_as_pictures(server: NatsServer, admin: Client, tmp_path: Path) -> None:
    """Debian's Chromium has no H.265."""
    hevc = footage.make(tmp_path / "v.mp4", codec="libx265", frames=1500, gop=25)
    async with looking(server, admin) as page, filming(admin, hevc):
        await page.evaluate(SHOW, {"camera": "cam", "lag": 0})
        await becomes(page, "window.unplayable?.startsWith('hvc1.') ?? false")
        assert "does not play hvc1" in await page.inner_text("td-player .note")
        await becomes(page, "made.querySelector('img').naturalWidth === 320")
        first = await page.get_attribute("td-player img", "src")
        await becomes(page, f"made.querySelector('img').src !== {first!r}")
        assert await page.is_hidden("td-player video")


async def test_two_players_share_a_connection_that_reconnects(server: NatsServer, admin: Client, path: Path) -> None:
    sockets: list[WebSocketRoute] = []

    async def opened(socket: WebSocketRoute) -> None:
        socket.connect_to_server()
        sockets.append(socket)

    async with looking(server, admin) as page, filming(admin, path):
        await page.route_web_socket("**/live", opened)
        await page.evaluate(SHOW, {"camera": "cam", "lag": 0})
        await becomes(page, "made.video.currentTime > 0")
        await page.evaluate("window.first = made")
        await page.evaluate(SHOW, {"camera": "cam", "lag": 0})
        await becomes(page, "made !== first && made.video.currentTime > 0")
        assert len(sockets) == 1
        await page.evaluate("first.remove()")
        await sockets[0].close()
        await until(lambda: len(sockets) == 2)
        await becomes(page, "made.video.currentTime > 0 && made.video.readyState > 2")


async def test_a_clip_plays_and_seeks(server: NatsServer, admin: Client, path: Path) -> None:
    """The clip is one file with an address, and the browser requests the parts that it needs."""
    pieces = dated(path, ago_s=300)
    await publish(admin, pieces)
    start = pieces[0].segment.start
    async with looking(server, admin) as page:
        await page.evaluate(SHOW, {"camera": "cam", "lag": 0})
        await page.evaluate(
            """({since, until}) => import("./api.js").then(({url}) => {
              window.clip = document.createElement("video");
              clip.muted = true;
              clip.src = url("clips/cam", {from: since, to: until});
              document.querySelector("main").prepend(clip);
            })""",
            {"since": rfc3339(start), "until": rfc3339(start + s(119.99))},
        )
        await becomes(page, "clip.readyState >= 1")
        assert abs(await page.evaluate("clip.duration") - 120) < 0.05
        for wanted in (100.5, 3.3, 61.0, 61.04):
            await page.evaluate(f"clip.currentTime = {wanted}")
            await becomes(page, f"!clip.seeking && clip.readyState > 1 && clip.currentTime === {wanted}")
            red = await page.evaluate(CORNER)
            n = int(wanted * 25 + 0.001)
            assert min((red - 5 * n) % 256, (5 * n - red) % 256) < 12, (red, n)
        await page.evaluate("clip.play()")
        await becomes(page, "clip.currentTime > 63")
