"""The page Review in a real browser: by keyboard, by filters, as events come, and for everybody."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import msgspec
import pytest
from nats.aio.client import Client

from services.ingest.cutting.piece import Piece
from shared.contract.events import CameraStatus, Incident, Snapshot
from tests.support.console.browser import browsing, overflows, violations
from tests.support.console.people import Running, add_camera, console_on
from tests.support.console.review import followed, until_so
from tests.support.video.video_world import path, pieces, publish
from tests.support.worlds.incidents import ago, incident, say, verdict
from tidegate.local.server import NatsServer

if TYPE_CHECKING:
    from playwright.async_api import Page, Route

__all__ = ["path", "pieces"]
pytestmark = pytest.mark.slow


def past(name: str, seconds: float, camera: str = "lobby", **fields: Any) -> Incident:
    """One that has ended, and whose video is gone."""
    start, end = ago(seconds), ago(seconds - 5)
    snapshot = Snapshot(stream="MEDIA", seq=0, time=start)
    return incident(name, camera, start=start, state="end", end=end, time=end, snapshot=snapshot, **fields)


async def opened(page: Page, console: Running, query: str = "") -> None:
    await page.goto(f"{console.url}#/review{query}")
    await page.wait_for_selector("main .review-timeline")


async def texts(page: Page, selector: str) -> list[str]:
    found: list[str] = await page.eval_on_selector_all(selector, "all => all.map(e => e.textContent)")
    return found


async def shows(page: Page, selector: str, *expected: str) -> None:
    """Wait until these elements' texts have these in them, in this order."""

    async def so() -> bool:
        found = await texts(page, selector)
        return len(found) == len(expected) and all(e in f for e, f in zip(expected, found, strict=True))

    await until_so(so)


def query_of(page: Page) -> dict[str, str]:
    """Return the query in the page's address."""
    return {name: value for name, (value, *_) in parse_qs(page.url.partition("?")[2]).items()}


async def test_incidents_are_reviewed_by_keyboard(server: NatsServer, admin: Client) -> None:
    async with console_on(server, admin) as console, browsing(console, "anna", "viewer", allowed=_no_now) as page:
        await add_camera(admin, "lobby")
        await say(admin, past("a", 300, rule="first"), past("b", 200, rule="second", verification="pending"))
        await say(admin, verdict("rejected", "b", start=ago(200)), past("c", 100, rule="third"))
        await opened(page, console)
        await shows(page, ".incident strong", "lobby · third", "lobby · second", "lobby · first")
        await shows(page, "nav .count", "3")
        await page.keyboard.press("j")
        await shows(page, ".review-detail h2", "lobby · third")
        await page.keyboard.press("r")
        await shows(page, ".review-detail h2", "lobby · second")
        await shows(page, "nav .count", "2")
        await page.wait_for_selector(".review-detail dd:has-text('a bench, and nobody on it')")
        await page.keyboard.press("k")
        await shows(page, ".review-detail h2", "lobby · third")
        await page.wait_for_selector(".review-detail button:has-text('Review again')")
        await page.keyboard.press("r")
        await shows(page, "nav .count", "3")
        await page.keyboard.press("?")
        await page.wait_for_selector("dialog kbd")
        await page.keyboard.press("j")
        await page.keyboard.press("Escape")
        await page.wait_for_selector("dialog", state="detached")
        await shows(page, ".review-detail h2", "lobby · third")
        await page.keyboard.press("Escape")
        await page.wait_for_selector(".review-detail .empty")
        assert "open" not in query_of(page)


async def test_events_resume_after_an_answer_of_a_proxy(server: NatsServer, admin: Client) -> None:
    failed = 0

    async def away(route: Route) -> None:
        nonlocal failed
        failed += 1
        await (route.fulfill(status=502, body="Bad Gateway") if failed < 3 else route.continue_())

    async with (
        console_on(server, admin) as console,
        browsing(console, "anna", "viewer", allowed=lambda text: "502" in text or _no_now(text)) as page,
    ):
        await page.route("**/api/v1/events?*", away)
        await opened(page, console)
        await page.wait_for_selector(".empty:has-text('No incident matches')")
        count = 0

        async def shown() -> bool:
            nonlocal count
            count += 1
            await say(admin, past(f"a{count}", 300))
            return failed >= 3 and bool(await texts(page, ".incident strong"))

        await until_so(shown)


async def test_filters_are_in_the_address(server: NatsServer, admin: Client) -> None:
    async with console_on(server, admin) as console, browsing(console, "anna", "viewer", allowed=_no_now) as page:
        await say(admin, past("a", 300, rule="fence"), past("b", 200, severity="critical"), past("c", 9000, "gate"))
        await opened(page, console)
        await shows(page, ".incident strong", "lobby · crowd", "lobby · fence", "gate · crowd")
        await page.select_option("select[name=severity]", "critical")
        await shows(page, ".incident strong", "lobby · crowd")
        await page.select_option("select[name=severity]", "")
        await page.fill("input[name=camera]", "gate")
        await page.press("input[name=camera]", "Enter")
        await shows(page, ".incident strong", "gate · crowd")
        assert query_of(page) == {"camera": "gate"}
        await page.reload()
        await shows(page, ".incident strong", "gate · crowd")
        assert await page.input_value("input[name=camera]") == "gate"
        await page.select_option("select[name=range]", "1h")
        await page.wait_for_selector(".empty:has-text('No incident matches')")
        await page.click("text=Clear")
        await shows(page, ".incident strong", "lobby · crowd", "lobby · fence", "gate · crowd")
        assert query_of(page) == {}


async def test_a_link_leads_to_a_moment_of_an_incident(server: NatsServer, admin: Client) -> None:
    """This holds for one older than the list, too, by the id that its events have."""
    async with console_on(server, admin) as console, browsing(console, "anna", "viewer", allowed=_no_now) as page:
        old = past("crowd.7", 2 * 24 * 3600)
        await say(admin, old, past("other", 100))
        at = old.start + dt.timedelta(seconds=2)
        await opened(page, console, f"?camera=lobby&incident=crowd.7&at={at.isoformat().replace('+00:00', 'Z')}")
        await page.wait_for_selector(".review-detail input[type=range]")
        assert await page.input_value(".review-detail input[type=range]") == f"{at.timestamp() * 1000:.0f}"
        await page.evaluate("navigator.clipboard.writeText = async (text) => { window.copied = text; }")
        await page.fill(".review-detail input[type=range]", f"{at.timestamp() * 1000 + 1000:.0f}")
        await page.keyboard.press("Tab")
        await page.keyboard.press("l")
        link = await until_so(lambda: page.evaluate("window.copied"))
        assert link.startswith(f"{console.url}#/review?") and "incident=crowd.7" in link
        await page.goto(f"{console.url}#/review/other")
        await shows(page, ".review-detail h2", "lobby · crowd")
        await page.goto("about:blank")
        await page.goto(link)
        await page.wait_for_selector(".review-detail input[type=range]")
        assert await page.input_value(".review-detail input[type=range]") == f"{at.timestamp() * 1000 + 1000:.0f}"


async def test_new_incidents_appear_live(server: NatsServer, admin: Client) -> None:
    async with console_on(server, admin) as console, browsing(console, "anna", "viewer", allowed=_no_now) as page:
        await opened(page, console)
        await page.wait_for_selector(".empty:has-text('No incident matches')")
        began = incident(
            "a", start=ago(20), snapshot=Snapshot(stream="MEDIA", seq=0, time=ago(20)), verification="pending"
        )
        await say(admin, began)
        await shows(page, ".incident .tag", "warning", "pending")
        await page.keyboard.press("j")
        await page.wait_for_selector(".review-detail dd:has-text('has not answered yet')")
        ended = msgspec.structs.replace(began, state="end", end=ago(10), time=ago(10))
        await say(admin, ended, verdict("confirmed", "a", reason="two of them run"))
        await page.wait_for_selector(".review-detail dd:has-text('two of them run')")
        await shows(page, ".incident .about > .muted", "10 s")


async def test_the_timeline_is_moved_and_zoomed(server: NatsServer, admin: Client) -> None:
    async with console_on(server, admin) as console, browsing(console, "anna", "viewer", allowed=_no_now) as page:
        await add_camera(admin, "gate")
        await say(admin, past("a", 3600 * 12), past("b", 3600 * 2))
        await say(admin, CameraStatus(camera="gate", time=ago(60), state="offline", reason="r", url="u", ingest="i"))
        await opened(page, console)
        await page.wait_for_selector("canvas[aria-label*='2 incidents of 2 cameras']")
        await page.focus(".review-timeline")
        for key in ("ArrowLeft", "+", "ArrowRight"):
            await page.keyboard.press(key)
        await page.wait_for_selector("canvas[aria-label*='1 incident of 1 camera ']")
        length = await page.evaluate(
            "(([a, b]) => Date.parse(b) - Date.parse(a))", [query_of(page)[n] for n in ("since", "until")]
        )
        assert length == 12 * 3600 * 1000
        assert await page.input_value("select[name=range]") == "chosen"
        await page.focus(".review-timeline")
        await page.keyboard.press("0")
        await page.wait_for_selector("canvas[aria-label*='2 incidents of 2 cameras']")
        assert "since" not in query_of(page)
        box = await page.locator(".review-timeline canvas").bounding_box()
        assert box
        label, axis, row = 140, 22, 24
        x = label + (box["width"] - label) * 0.5 + 1
        await page.mouse.click(box["x"] + x, box["y"] + axis + row * 1.5)
        await shows(page, ".review-detail h2", "lobby · crowd")
        assert await page.evaluate("document.activeElement.className.includes('incident')")


async def test_the_clip_plays_with_boxes_over_it(server: NatsServer, admin: Client, pieces: list[Piece]) -> None:
    async with console_on(server, admin) as console, browsing(console, "anna", "viewer", allowed=_no_now) as page:
        await add_camera(admin, "lobby")
        seqs = await publish(admin, pieces, "lobby")
        start = pieces[0].segment.start + dt.timedelta(seconds=4)
        shows = Snapshot(stream="MEDIA", seq=seqs[5], time=start)
        last = start + dt.timedelta(seconds=2)
        await say(admin, incident("a", start=start, state="end", end=last, time=last, snapshot=shows), followed(start))
        await opened(page, console)
        await until_so(lambda: page.evaluate("document.querySelector('.incident img')?.naturalWidth > 0"))
        await page.keyboard.press("j")
        await page.wait_for_selector(".review-detail video:not([hidden])")
        assert abs(await page.evaluate("document.querySelector('video').currentTime") - 4) < 0.1
        await until_so(lambda: page.evaluate(_DRAWN))
        await page.keyboard.press("b")
        await until_so(lambda: page.evaluate(f"!({_DRAWN})"))
        await page.keyboard.press("b")
        await page.keyboard.press("Space")
        await until_so(lambda: page.evaluate("document.querySelector('video').currentTime > 5"))
        async with page.expect_download() as saving:
            await page.keyboard.press("d")
        assert (await saving.value).suggested_filename == f"lobby-crowd-{start:%Y%m%dT%H%M%SZ}.mp4"
        async with page.expect_download() as saving:
            await page.keyboard.press("p")
        assert (await saving.value).suggested_filename == f"lobby-crowd-{start:%Y%m%dT%H%M%SZ}.jpg"


# Whether anything is drawn over the video.
_DRAWN = """(() => {
  const canvas = document.querySelector(".review-stage canvas");
  return canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data.some((v) => v > 0);
})()"""


@pytest.mark.parametrize(("width", "theme"), [(360, "light"), (1280, "dark"), (3840, "dark")])
async def test_it_is_usable_at_every_width_and_accessible(
    server: NatsServer, admin: Client, pytestconfig: pytest.Config, width: int, theme: str
) -> None:
    async with console_on(server, admin) as console, browsing(console, "anna", "viewer", allowed=_no_now) as page:
        await page.set_viewport_size({"width": width, "height": 800})
        await page.evaluate("theme => document.documentElement.dataset.theme = theme", theme)
        start = dt.datetime.now(dt.UTC).replace(microsecond=0)
        long = "a-camera-of-the-car-park-in-the-north-of-the-second-building"
        missing = Snapshot(stream="MEDIA", seq=0, time=start)
        await say(admin, incident("now", start=start, severity="critical", snapshot=missing), followed(start))
        await say(admin, past("a", 100, long, severity="info", late=True, verification="confirmed", confidence=0.9))
        await say(admin, past("b", 200, not_found=True, reason="x" * 300))
        await opened(page, console)
        await shows(page, ".incident strong", "lobby", long, "lobby")
        await page.keyboard.press("j")
        await page.wait_for_selector(".review-detail dd:has-text('person 90 %')")
        assert await overflows(page) <= 0
        assert await violations(page, pytestconfig) == []


def _no_now(text: str) -> bool:
    return "404" in text
