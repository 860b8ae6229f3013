"""All pages on the real stack and real video, in the order in which a person would open them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.console.browser import becomes, browsing, overflows, violations
from tests.support.console.world import Site, world

if TYPE_CHECKING:
    from playwright.async_api import Page

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(900)]

# The element that each page has once it shows something.
PAGES = {
    "now": "main .card",
    "cameras": "main img[src^='blob:'], main img[src*='picture']",
    f"cameras/{Site.alley}": "main video",
    f"cameras/{Site.alley}/rules": "main svg polygon",
    "review": "main article, main li",
    "recordings": "main table",
    f"recordings/{Site.alley}": "main video",
    "find": "main form",
    "ask": "main form",
    "scaling": "main .card",
    "models": "main table, main .empty",
    "site": "main textarea",
    "system": "main details, main table",
    "people": "main table",
    "me": "main form",
}


async def test_every_page_shows_its_data(tmp_path: Path, pytestconfig: pytest.Config) -> None:
    async with world(tmp_path) as site:
        async with browsing(site, "root", "admin") as page:
            for address, selector in PAGES.items():
                await page.goto(f"{site.url}#/{address}")
                await page.wait_for_selector(selector)
                assert await violations(page, pytestconfig) == [], address
            await plays(page, site)
            await plays_again(page, site)
            await finds(page, site)
        for width in (360, 3840):
            async with browsing(site, "root", "admin", width=width) as page:
                for address, selector in PAGES.items():
                    await page.goto(f"{site.url}#/{address}")
                    await page.wait_for_selector(selector)
                    assert await overflows(page) <= 0, f"{address} at {width}"


async def plays(page: Page, site: Site) -> None:
    """Assert that video plays by itself, near the live edge."""
    await page.goto(f"{site.url}#/cameras/{site.alley}")
    await page.wait_for_selector("main video")
    first = await time_of(page)
    while await time_of(page) < first + 2:
        await asyncio.sleep(0.2)
    wall = "document.querySelector('td-player').currentWallTime"
    assert await page.evaluate(f"Math.abs(Date.now() - {wall}) < 120_000")


async def plays_again(page: Page, site: Site) -> None:
    """Assert that the recording plays in its page."""
    await page.goto(f"{site.url}#/recordings/{site.alley}")
    await becomes(page, "document.querySelector('main video')?.readyState >= 2")
    first = await time_of(page)
    await page.keyboard.press("Space")
    while await time_of(page) < first + 2:
        await asyncio.sleep(0.2)
    assert await page.evaluate("Math.abs(Date.now() - new Date(document.querySelector('.clock').dateTime)) < 900_000")


async def time_of(page: Page) -> float:
    found: float = await page.evaluate("document.querySelector('main video')?.currentTime ?? 0")
    return found


async def finds(page: Page, site: Site) -> None:
    """Assert that search finds what it has indexed by now."""
    await page.goto(f"{site.url}#/find?label=bicycle")
    await page.wait_for_selector(".moment .shot img")
