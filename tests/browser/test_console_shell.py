"""The shell of the pages in a real browser: signing in, navigation, the server gone and back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from nats.aio.client import Client

from tests.support.console.browser import browsing, overflows, violations
from tests.support.console.people import console_on
from tidegate.local.server import NatsServer

if TYPE_CHECKING:
    from playwright.async_api import Route

pytestmark = pytest.mark.slow


async def test_a_link_signs_in_and_leaves_the_address(server: NatsServer, admin: Client) -> None:
    # Requests from before the sign-out may be answered after it.
    async with (
        console_on(server, admin) as console,
        browsing(console, "root", "admin", allowed=lambda text: "401" in text) as page,
    ):
        assert "link" not in page.url
        assert await page.inner_text("nav a[aria-current=page]") == "Now"
        await page.click("text=Sign out")
        await page.wait_for_selector("input[name=password]")


async def test_forbidden_pages_state_the_reason(server: NatsServer, admin: Client) -> None:
    async with console_on(server, admin) as console, browsing(console, "anna", "viewer") as page:
        await page.goto(f"{console.url}#/people")
        await page.wait_for_selector("text=ask an admin")
        assert await page.query_selector("nav a[href='#/people']") is None


@pytest.mark.parametrize("width", [360, 1280, 3840])
async def test_signing_in_is_usable_at_every_width_and_accessible(
    server: NatsServer, admin: Client, pytestconfig: pytest.Config, width: int
) -> None:
    async with console_on(server, admin) as console, browsing(console, "root", "admin", width=width) as page:
        await page.goto(f"{console.url}#/nothing")
        await page.wait_for_selector("text=There is no such page")
        assert await violations(page, pytestconfig) == []
        assert await overflows(page) <= 0
        await page.context.clear_cookies()
        await page.reload()
        await page.wait_for_selector("input[name=password]")
        assert await violations(page, pytestconfig) == []
        assert await overflows(page) <= 0


async def test_a_lost_server_is_reported_and_reconnects_by_itself(server: NatsServer, admin: Client) -> None:
    async with (
        console_on(server, admin) as console,
        browsing(console, "root", "admin", allowed=lambda text: "Failed to load resource" in text) as page,
    ):
        await page.goto(f"{console.url}#/nothing")
        await server.stop()
        await page.wait_for_selector(".banner:not([hidden])")
        await server.start()
        await page.wait_for_selector(".banner", state="hidden")


@pytest.mark.parametrize(("part", "status"), [("people/page.js", 0), ("people/groups.js", 503), ("api/v1/now", 503)])
async def test_a_page_that_could_not_be_loaded_is_loaded_again(
    server: NatsServer, admin: Client, part: str, status: int
) -> None:
    """Its modules, and what it shows at first."""
    failed = 0

    async def fail(route: Route) -> None:
        nonlocal failed
        failed += 1
        if failed > 2:
            await route.continue_()
        elif status:
            await route.fulfill(status=status, json={"error": "it is away"})
        else:
            await route.abort()

    async with (
        console_on(server, admin) as console,
        browsing(console, "root", "admin", allowed=lambda text: "Failed to load resource" in text) as page,
    ):
        await page.goto(f"{console.url}#/me")
        await page.wait_for_selector("main h1")
        await page.route(f"**/{part}", fail)
        await page.goto(f"{console.url}#/{'now' if part.endswith('now') else 'people'}")
        await page.wait_for_selector("main [role=alert]:has-text('could not')")
        await page.wait_for_selector("main .head, main .tabs")
        assert failed == 3
