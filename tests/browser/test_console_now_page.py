"""The page Now in a real browser: its overview, and the charts by mouse and by keys."""

from __future__ import annotations

import asyncio
import contextlib
import math
import re
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest
from nats.aio.client import Client

from services.console.now.series.ring import Sample
from services.scaler.live.metadata import DemandQuery
from shared.runtime.tasks import end
from tests.support.console.browser import becomes, browsing, overflows, violations
from tests.support.console.now import _send_for_ever, begun, say, status
from tests.support.console.people import Running, add_camera, console_on
from tests.support.processes.echo_service import Echo, publish, working
from tests.support.waiting import patience_s
from tests.support.worlds.scalers import estimating
from tidegate.local.server import NatsServer

if TYPE_CHECKING:
    from playwright.async_api import Page

pytestmark = pytest.mark.slow


@contextlib.asynccontextmanager
async def busy(server: NatsServer, admin: Client) -> AsyncIterator[Running]:
    """A console with a worker, a scaler, an offline camera, an incident, and an hour of history."""
    for camera in ("lobby", "yard"):
        await add_camera(admin, camera)
    await say(admin, status("yard", "offline"), "c/yard")
    await say(admin, status("lobby", "online"), "c/lobby")
    await say(admin, begun("lobby", 1), "i/1")
    async with estimating(server) as scaler, console_on(server, admin, cost_per_hour=2.5) as console:
        scaler.get(DemandQuery(service="cv", stream="MEDIA", consumer="cv")).listeners.add(lambda: None)
        remember(console)
        async with working(server, Echo(infer_s=0.02)):
            sending = asyncio.create_task(_send_for_ever(admin))
            try:
                yield console
            finally:
                await end(sending)


def remember(console: Running) -> None:
    """Fill the console with an hour of history."""
    now = time.time() // 5 * 5
    for i in range(700):
        wave = 5 + 4 * math.sin(i / 60)
        sample = Sample(
            arriving=wave,
            clearing=wave * 0.95,
            age_s=max(0, wave - 8) * 20,
            pending=max(0, wave - 7) * 30,
            in_flight=4,
            wanted=math.ceil(wave / 3),
            ready=math.ceil(wave / 3.2),
            warming=i // 60 % 2,
            busy=wave / 4,
            idle=0.5,
            cost=wave / 2,
            deferred=max(0, wave - 8),
            made_good=0.5,
        )
        console.pages.now.monitor.ring.add("cv", sample, now - 3500 + 5 * i)


async def texts(page: Page, selector: str) -> list[str]:
    return [await each.inner_text() for each in await page.query_selector_all(selector)]


async def test_the_page_now_shows_the_whole_site(server: NatsServer, admin: Client) -> None:
    async with busy(server, admin) as console, browsing(console, "root", "admin") as page:
        await page.wait_for_selector(".verdict >> text=1 replica runs")
        await page.wait_for_selector(".verdict >> text=cv: ")
        late, gpus, cost, needs = await texts(page, ".verdict")
        assert "Nothing is late" in late and "segments/s" in late
        assert re.search(r"cv: .*(call for|wait or are in work|are held)", gpus)
        assert "2.5 an hour" in cost and "saved" in cost
        assert "1 thing needs attention" in needs and await texts(page, ".needs li") == ["soon yard: no route"]
        assert await page.inner_text("nav a[aria-current=page] .count") == "1"
        assert await page.get_attribute(".needs a", "href") == "#/cameras/yard"
        card = page.locator("article[aria-label=cv]")
        await card.locator("summary").click()
        await card.locator(".why .decides").wait_for()
        assert await card.locator("table").count() == 2
        # An open table stays open while it is updated.
        before = await card.locator("table").nth(1).inner_text()
        await becomes(
            page,
            "before => { const t = document.querySelectorAll('article[aria-label=cv] table')[1]; "
            "return t && t.innerText !== before }",
            before,
        )
        assert await card.locator("details").get_attribute("open") is not None
        assert await texts(page, "section[aria-labelledby=cameras] tbody a") == ["yard", "lobby"]


async def test_a_user_limited_to_some_cameras_sees_no_totals(
    server: NatsServer, admin: Client, pytestconfig: pytest.Config
) -> None:
    async with busy(server, admin) as console:
        await console.person("anna", "viewer", cameras=["lobby"])
        async with browsing(console, "anna", "viewer") as page:
            await page.wait_for_selector(".markers >> text=lobby: fence")
            assert await page.locator("article, td-chart, .verdict").count() == 0
            assert not await overflows(page) and not await violations(page, pytestconfig)
            assert await texts(page, "section[aria-labelledby=cameras] tbody a") == ["lobby"]
            assert "yard" not in await page.inner_text("main")


async def shown_range(page: Page) -> tuple[str, str]:
    found = re.search(r"since=([^&]+)&until=([^&]+)", page.url)
    return (found[1], found[2]) if found else ("", "")


async def test_a_range_is_chosen_by_mouse_and_by_keys(server: NatsServer, admin: Client) -> None:
    async with busy(server, admin) as console, browsing(console, "root", "admin") as page:
        plot = page.locator("td-chart .plot").first
        await page.wait_for_selector(".legend b:text-matches('[0-9]')")
        await plot.scroll_into_view_if_needed()
        box = await plot.bounding_box()
        assert box
        await page.mouse.move(box["x"] + box["width"] * 0.4, box["y"] + 60)
        # All charts have the cursor at the same instant.
        at = [text for text in await texts(page, "td-chart .at") if text]
        assert len(at) == 6 and len(set(at)) == 1
        await page.mouse.down()
        await page.mouse.move(box["x"] + box["width"] * 0.7, box["y"] + 60, steps=5)
        await page.mouse.up()
        await becomes(page, "location.hash.includes('since=')")
        dragged = await shown_range(page)
        assert dragged[0] < dragged[1] and await page.input_value("select[aria-label=Range]") == "part"
        await page.click("text=Follow")
        assert await shown_range(page) == ("", "")
        # The same by keys, and the value at the cursor is announced.
        await plot.focus()
        await page.keyboard.press("Home")
        for _ in range(40):
            await page.keyboard.press("ArrowRight")
        assert re.search(r"arriving \d.*done \d", await page.locator("td-chart .sr").first.inner_text())
        for _ in range(60):
            await page.keyboard.press("Shift+ArrowRight")
        await page.keyboard.press("Enter")
        await becomes(page, "location.hash.includes('since=')")
        chosen = await shown_range(page)
        await page.keyboard.press("+")
        await becomes(page, "since => !location.hash.includes(since)", chosen[0])
        closer = await shown_range(page)
        assert chosen[0] < closer[0] < closer[1]
        # The range is in the address: a person who opens the link sees the same.
        await page.reload()
        await page.wait_for_selector("select[aria-label=Range]")
        assert await shown_range(page) == closer and await page.input_value("select[aria-label=Range]") == "part"
        await plot.focus()
        await page.keyboard.press("0")
        await becomes(page, "!location.hash.includes('since=')")


async def pixels(page: Page) -> list[str]:
    """The colours that the first chart is drawn with."""
    found: list[str] = await page.evaluate(
        """() => { const c = document.querySelector('td-chart canvas');
        const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data; const found = new Set();
        for (let i = 0; i < d.length; i += 4) if (d[i + 3] === 255) found.add(d.slice(i, i + 3).join());
        return [...found]; }"""
    )
    return found


async def test_a_chart_has_the_colours_of_the_theme(server: NatsServer, admin: Client) -> None:
    async with busy(server, admin) as console, browsing(console, "root", "admin") as page:
        await page.wait_for_selector(".legend b:text-matches('[0-9]')")
        for theme, colour in (("dark", "62,198,198"), ("light", "10,114,114")):
            await page.select_option("select[aria-label=Theme]", theme)
            await page.wait_for_timeout(0)
            async with asyncio.timeout(patience_s()):
                while colour not in await pixels(page):
                    await asyncio.sleep(0.05)


@pytest.mark.parametrize("width", [360, 1280, 3840])
async def test_it_is_usable_at_every_width_and_accessible(
    server: NatsServer, admin: Client, pytestconfig: pytest.Config, width: int
) -> None:
    async with busy(server, admin) as console, browsing(console, "root", "admin", width=width) as page:
        await page.wait_for_selector(".markers time")
        await page.locator("article[aria-label=cv] summary").click()
        for theme in ("dark", "light"):
            await page.evaluate("theme => { document.documentElement.dataset.theme = theme }", theme)
            assert await violations(page, pytestconfig) == []
        assert await overflows(page) <= 0


async def test_an_empty_site_is_explained(server: NatsServer, admin: Client) -> None:
    async with console_on(server, admin) as console, browsing(console, "root", "admin") as page:
        await page.wait_for_selector("text=No service runs yet")
        assert await texts(page, ".verdict .big") == [
            "Nothing is late",
            "No replica runs",
            "Set COST_PER_HOUR to see costs",
            "Nothing needs attention",
        ]
        await publish(admin, ["s"])
        await page.wait_for_selector("article[aria-label=cv] >> text=no workers")


async def test_a_lost_server_needs_attention(server: NatsServer, admin: Client) -> None:
    def allowed(text: str) -> bool:
        return "Failed to load resource" in text

    async with console_on(server, admin) as console, browsing(console, "root", "admin", allowed=allowed) as page:
        await page.wait_for_selector("text=Nothing needs attention")
        await server.stop()
        await page.wait_for_selector(".needs >> text=does not reach the NATS server")
        assert "Unknown" in await page.inner_text(".verdict")
        await server.start()
        await page.wait_for_selector("text=Nothing needs attention")
        await page.wait_for_selector(".markers >> text=NATS was unreachable")
