"""`make screenshots`: the console's pages as pictures for the documentation, of the real stack at work.

Usage:
    python -m tests.support.console.screenshots docs/images          # a few minutes
    python -m tests.support.console.screenshots docs/images models   # one page
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.console.browser import browsing
from tests.support.console.world import Site, world
from tests.support.processes.command_line import tidegate

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
    "models": ("#/models", "main table img"),
    "system": ("#/system", "main"),
}
# Measured models, by their options of `tidegate model add`.
MEASURED = {
    "street": ("openvino:ssd_mobilenet_v2_coco", "--fps", "2"),
    "street-5fps": ("openvino:ssd_mobilenet_v2_coco", "--fps", "5"),
}
# The key to press first.
KEYS = {"review": "j"}
# Charts need some history of the console, and live video needs some time to play.
SEEN_S = 60.0
SETTLED_S = 6.0
SIZE = (1440, 900)


async def take(site: Site, folder: Path, names: Sequence[str]) -> None:
    """Write a picture of each of these pages."""
    await asyncio.sleep(SEEN_S)
    width, height = SIZE
    async with browsing(site, "admin", "admin", width=width, height=height) as page:
        for name in names:
            address, selector = PICTURES[name]
            await page.goto(site.url + address)
            await page.wait_for_selector(selector)
            if key := KEYS.get(name):
                await page.keyboard.press(key)
            await asyncio.sleep(SETTLED_S)
            await _shot(page, folder / f"console-{name}.png")


async def _shot(page: Page, path: Path) -> None:
    await page.screenshot(path=path)
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


def measure(data: Path) -> None:
    """Measure the models of the page Models, and choose one, before anything else takes the cores."""
    for name, options in MEASURED.items():
        tidegate(data, "model", "add", *options, "--name", name, "--latency-target", "4", "--seconds", "4")
    tidegate(data, "model", "use", "street")


async def main(folder: Path, names: Sequence[str]) -> None:
    with tempfile.TemporaryDirectory(prefix="tidegate-screenshots-") as data:
        if "models" in names:
            measure(Path(data) / "data")
        async with world(Path(data)) as site:
            await take(site, folder, names)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2:] or list(PICTURES)))
