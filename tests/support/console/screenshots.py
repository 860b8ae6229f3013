"""`make screenshots`: the console's pages as pictures for the documentation, of the real stack at work.

Usage:
    python -m tests.support.console.screenshots docs/images          # a minute or two
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.console.browser import browsing
from tests.support.console.world import Site, world

if TYPE_CHECKING:
    from playwright.async_api import Page

# The page of each picture, and the elements that it waits for.
PICTURES = {
    "now": ("#/now", "main"),
    "cameras": ("#/cameras", "main img"),
    "camera": (f"#/cameras/{Site.alley}", "main video, main img"),
    "rules": (f"#/cameras/{Site.alley}/rules", "main svg"),
    "review": ("#/review", "main .incident"),
    "recordings": (f"#/recordings/{Site.alley}", "main video"),
    "find": ("#/find?text=a%20person", "main"),
    "scaling": ("#/scaling", "main"),
    "system": ("#/system", "main"),
}
# The key to press first.
KEYS = {"review": "j"}
# Charts need some history of the console, and live video needs some time to play.
SEEN_S = 60.0
SETTLED_S = 6.0
SIZE = (1440, 900)


async def take(site: Site, folder: Path) -> None:
    """Write a picture of each page."""
    await asyncio.sleep(SEEN_S)
    width, height = SIZE
    async with browsing(site, "admin", "admin", width=width, height=height) as page:
        for name, (address, selector) in PICTURES.items():
            await page.goto(site.url + address)
            await page.wait_for_selector(selector)
            if key := KEYS.get(name):
                await page.keyboard.press(key)
            await asyncio.sleep(SETTLED_S)
            await _shot(page, folder / f"console-{name}.png")


async def _shot(page: Page, path: Path) -> None:
    await page.screenshot(path=path)
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


async def main(folder: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="tidegate-screenshots-") as data:
        async with world(Path(data)) as site:
            await take(site, folder)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
