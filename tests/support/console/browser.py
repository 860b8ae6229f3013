"""A real browser: Debian's Chromium, headless, on a page of a signed-in person.

    async with browsing(console, "anna", "admin") as page:
        await page.goto(f"{console.url}#/cameras")
        await shown(page, "main h1")

Whatever the page writes to its console as an error, and every request that another host would get, fails the test.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from services.console.web.asker import Role
from tests.support.npm import installed
from tests.support.waiting import patience_s

if TYPE_CHECKING:
    from playwright.async_api import Page

AXE = "4.14.1"
CHROMIUM = Path(__file__).with_name("unwatched.py")
# Without the background's flags Chromium asks hosts of its maker's for all kinds of things.
_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
)


class Site(Protocol):
    """The address of a console, and the sign-in of a person."""

    url: str

    async def link(self, name: str, role: Role = ...) -> str: ...


@contextlib.asynccontextmanager
async def browsing(
    console: Site,
    name: str,
    role: Role,
    *,
    width: int = 1280,
    height: int = 800,
    allowed: Callable[[str], bool] = lambda _: False,
) -> AsyncIterator[Page]:
    """A page of a person who has just followed a one-time link. allowed: expected errors of the page."""
    if not shutil.which("chromium"):
        pytest.skip("Chromium is not installed: apt-get install chromium")
    from playwright.async_api import async_playwright

    wrong: list[str] = []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=list(_FLAGS))
        try:
            page = await browser.new_page(viewport={"width": width, "height": height})
            page.set_default_timeout(patience_s() * 1000)
            page.on("console", lambda m: wrong.append(m.text) if m.type == "error" and not allowed(m.text) else None)
            page.on("pageerror", lambda e: wrong.append(str(e)))
            page.on("request", lambda r: None if _is_ours(r.url, console.url) else wrong.append(f"asks {r.url}"))
            await page.goto(f"{console.url}#/link/{await console.link(name, role)}")
            await page.wait_for_selector("nav a[aria-current=page]", state="attached")
            try:
                yield page
            except BaseException:
                print(f"the page was {page.url}:\n{await page.inner_text('body')}\n{wrong}")
                raise
            assert not wrong, wrong
        finally:
            await browser.close()


async def becomes(page: Page, expression: str, arg: object = None) -> None:
    """Wait until the JavaScript holds. The pages' policy forbids Playwright's own way, a text that the page runs."""
    async with asyncio.timeout(patience_s()):
        while not await page.evaluate(expression, arg):
            await asyncio.sleep(0.05)


def _is_ours(url: str, ours: str) -> bool:
    return url.startswith((ours, ours.replace("http", "ws", 1), "blob:", "data:"))


async def violations(page: Page, config: pytest.Config) -> list[str]:
    """The violations that axe-core finds on the page, for people with impaired sight, or without a mouse."""
    source = (installed(config, "axe-core", AXE) / "axe.min.js").read_text()
    await page.evaluate(source)
    found: dict[str, Any] = await page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [f"{v['id']}: {v['help']}: {node['html'][:200]}" for v in found["violations"] for node in v["nodes"][:3]]


async def overflows(page: Page) -> float:
    """By how many pixels the page is wider than the window."""
    width: float = await page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    return width
