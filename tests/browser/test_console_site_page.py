"""The page Site in a real browser: the file, mistakes at their lines, changes, removal, and the apply."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from nats.aio.client import Client

from services.console.web.asker import Role
from shared.client import registry
from shared.contract import names
from shared.contract.cameras import new_camera
from shared.site import state
from tests.support.console.browser import becomes, browsing, overflows, violations
from tests.support.console.people import Running, console_on
from tidegate.local.server import NatsServer

if TYPE_CHECKING:
    from playwright.async_api import Page, Route

pytestmark = pytest.mark.slow
TEXT = "#site-text"
CHANGES = ".site-changes li"
SCRIPT = "<script>alert(1)</script><img src=x>"


async def fill(admin: Client) -> None:
    """Store two cameras, one of them with a password, and a policy."""
    for id, url in (("lobby", "rtsp://me:hunter2@10.0.0.7/stream1"), ("yard", "rtsp://10.0.0.8/a")):
        camera, secret = new_camera(url, fps=2.0)
        await registry.put(admin.jetstream(), id, camera, secret)
    await (await admin.jetstream().key_value(names.RECORDINGS)).put("default", b'{"keep_days": 7}')


@asynccontextmanager
async def site(console: Running, role: Role = "admin", width: int = 1280) -> AsyncIterator[Page]:
    async with browsing(console, "olga", role, width=width, allowed=lambda text: "Failed to load" in text) as page:
        await page.goto(f"{console.url}#/site")
        await page.wait_for_selector(".site-text")
        yield page


async def write(page: Page, text: str) -> None:
    await page.fill(TEXT, text)
    await page.get_by_role("button", name="Compare", exact=True).press("Enter")


@pytest.mark.parametrize("width", [360, 1280, 3840])
async def test_a_file_is_compared_and_applied_at_every_width(
    server: NatsServer, admin: Client, pytestconfig: pytest.Config, width: int
) -> None:
    await fill(admin)
    async with console_on(server, admin) as console, site(console, width=width) as page:
        text = await page.input_value(TEXT)
        assert "SITE_LOBBY_PASSWORD" in text and "hunter2" not in await page.content()
        await write(page, text)
        await page.wait_for_selector("text=Nothing to change")
        await write(page, text.replace("keep_days: 7", "keep_days: 9") + "\nx-note: mine\n")
        await page.wait_for_selector(f"{CHANGES}:has-text('recording of all cameras')")
        assert await violations(page, pytestconfig) == []
        assert await overflows(page) <= 0
        await page.get_by_role("button", name="Apply", exact=True).press("Enter")
        await page.wait_for_selector("text=Applied: 0 added, 1 changed, 0 removed")
        assert "keep_days: 9" in await page.input_value(TEXT)
        await write(page, "cameras: {lobby: {url: 5}}\nnothing: {}")
        await page.wait_for_selector(f"{CHANGES}:has-text('nothing')")
        assert await page.get_by_role("button", name="Apply").count() == 0
        assert await violations(page, pytestconfig) == []
        assert await overflows(page) <= 0


async def test_mistakes_lead_to_their_lines_and_another_text_needs_another_comparison(
    server: NatsServer, admin: Client
) -> None:
    async with console_on(server, admin) as console, site(console) as page:
        await write(page, "cameras:\n  lobby:\n    url: rtsp://10.0.0.7/a\n    colour: x\n")
        await page.get_by_role("button", name="Line 4").press("Enter")
        assert await page.evaluate(
            "(() => { const a = document.activeElement; return a.value.slice(a.selectionStart, a.selectionEnd) })()"
        ) == ("    colour: x")
        await write(page, "cameras: {lobby: {url: rtsp://10.0.0.7/a}}")
        await page.wait_for_selector(f"{CHANGES}:has-text('camera lobby')")
        await page.type(TEXT, " ")
        await page.wait_for_selector("text=The text changed: compare again.")
        assert await page.get_by_role("button", name="Apply").count() == 0


async def test_removal_is_chosen_and_confirmed(server: NatsServer, admin: Client) -> None:
    await fill(admin)
    async with console_on(server, admin) as console, site(console) as page:
        await write(page, "cameras: {lobby: {url: rtsp://10.0.0.7/stream1, fps: 2}}")
        await page.wait_for_selector("text=camera yard is not in the file, and stays")
        await page.get_by_label("cameras, their rules and policies").press("Space")
        await page.wait_for_selector(f"{CHANGES}:has-text('remove'):has-text('camera yard')")
        apply = page.get_by_role("button", name="Apply", exact=True)
        await apply.press("Enter")
        await page.keyboard.press("Enter")
        await page.wait_for_selector("dialog", state="detached")
        assert "yard" in (await state.read(admin.jetstream())).cameras, "the first button cancels"
        await apply.press("Enter")
        await page.locator("dialog button.danger").press("Enter")
        await page.wait_for_selector("text=1 removed.")
        assert "yard" not in (await state.read(admin.jetstream())).cameras


async def test_markup_in_a_file_is_inert(server: NatsServer, admin: Client) -> None:
    async with console_on(server, admin) as console, site(console) as page:
        await write(page, f"cameras:\n  lobby: {{url: rtsp://10.0.0.7/a, classes: ['{SCRIPT}']}}")
        await page.wait_for_selector(f"{CHANGES}:has-text('<script>')")
        await write(page, f"cameras:\n  '{SCRIPT}': {{url: rtsp://10.0.0.7/a, '{SCRIPT}': 1}}")
        await page.wait_for_selector(f"{CHANGES}:has-text('<script>')")
        assert await page.locator("main script, main img").count() == 0


async def test_somebody_elses_change_is_a_sentence(server: NatsServer, admin: Client) -> None:
    await fill(admin)
    async with console_on(server, admin) as console, site(console) as page:
        await write(page, "cameras: {gate: {url: rtsp://10.0.0.9/a}}")
        await page.wait_for_selector(CHANGES)
        await registry.change(admin.jetstream(), "yard", {"fps": 3.0})
        await page.get_by_role("button", name="Apply", exact=True).press("Enter")
        await page.wait_for_selector("[role=alert]:has-text('compare again')")
        await page.get_by_role("button", name="Compare", exact=True).press("Enter")
        await page.get_by_role("button", name="Apply", exact=True).press("Enter")
        await page.wait_for_selector("text=Applied: 1 added")


async def test_an_apply_locks_the_page_and_succeeds_without_a_reload(server: NatsServer, admin: Client) -> None:
    await fill(admin)
    may_apply = asyncio.Event()

    async def hold(route: Route) -> None:
        if route.request.method == "POST":
            await may_apply.wait()
        await route.continue_()

    async with console_on(server, admin) as console, site(console) as page:
        await page.route(re.compile(r"/site/apply$"), hold)
        await page.route(re.compile(r"/site$"), lambda route: route.abort())
        await write(page, "cameras: {gate: {url: rtsp://10.0.0.9/a}}")
        await page.wait_for_selector(CHANGES)
        await page.get_by_role("button", name="Apply", exact=True).press("Enter")
        for name in ("Compare", "Upload"):
            await page.wait_for_selector(f"button:disabled:has-text('{name}')")
        assert await page.locator("input[type=file]").is_disabled()
        may_apply.set()
        await page.wait_for_selector("text=Applied: 1 added")
        assert "could not be read: reload the page" in await page.inner_text(".site-result")
        assert await page.inner_text(".site-result [role=alert]") == ""
        assert await page.locator("input[type=file]").is_enabled()
    assert (await registry.read(admin.jetstream(), "gate")).url == "rtsp://10.0.0.9/a"


async def test_files_are_uploaded_downloaded_and_drafts_stay(server: NatsServer, admin: Client, tmp_path: Path) -> None:
    await fill(admin)
    file = tmp_path / "mine.yaml"
    file.write_text("cameras: {gate: {url: rtsp://10.0.0.9/a}}")
    async with console_on(server, admin) as console, site(console) as page:
        running = await page.input_value(TEXT)
        async with page.expect_download() as started:
            await page.get_by_role("button", name="Download").click()
        saved = await (await started.value).path()
        assert saved.read_text() == running
        await page.set_input_files("input[type=file]", file)
        await page.wait_for_selector(f"{CHANGES}:has-text('camera gate')")
        await page.goto(f"{console.url}#/models")
        await page.wait_for_selector("text=Measured models")
        await page.goto(f"{console.url}#/site")
        await becomes(page, "() => document.querySelector('#site-text')?.value.includes('gate')")
        await page.get_by_role("button", name="Back to what runs").click()
        await page.locator("dialog button.danger").click()
        await becomes(page, f"(text) => document.querySelector('{TEXT}').value === text", running)


async def test_operators_read_and_viewers_have_no_link(
    server: NatsServer, admin: Client, pytestconfig: pytest.Config
) -> None:
    await fill(admin)
    async with console_on(server, admin) as console:
        async with site(console, "operator") as page:
            assert "SITE_LOBBY_PASSWORD" in await page.inner_text("pre.site-text")
            assert await page.locator("textarea, [aria-label=Changes]").count() == 0
            assert await violations(page, pytestconfig) == []
        async with browsing(console, "vera", "viewer") as page:
            assert await page.locator("nav a[href='#/site']").count() == 0
            await page.goto(f"{console.url}#/site")
            await page.wait_for_selector("text=This page needs the role operator")
