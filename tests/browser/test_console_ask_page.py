"""The page Ask in a browser: the state of a wait, an answer with its frames, a summary, and other people's answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from nats.aio.client import Client

from services.console.web.asker import Role
from tests.support.console.ask import MAN, world
from tests.support.console.browser import becomes, browsing, overflows, violations
from tests.support.console.people import add_camera
from tests.support.servers.openai_server import hang
from tidegate.local.server import NatsServer

if TYPE_CHECKING:
    from playwright.async_api import Page

pytestmark = pytest.mark.slow


async def question(page: Page, text: str, *cameras: str) -> None:
    await page.wait_for_selector("textarea")
    for camera in cameras:
        await page.fill("input[placeholder='add a camera']", camera)
        await page.keyboard.press("Enter")
    await page.fill("textarea", text)
    await page.keyboard.press("Enter")


async def test_a_question_is_answered_with_pictures(
    server: NatsServer, admin: Client, pytestconfig: pytest.Config
) -> None:
    async with world(server, admin) as (console, _), browsing(console, "anna", "operator") as page:
        await page.goto(f"{console.url}#/ask")
        await question(page, "Who?")
        await page.wait_for_selector("text=Choose a camera")
        await question(page, "Who?", "lobby", "street")
        await page.wait_for_selector("section .answer:nth-of-type(2)")
        assert await page.inner_text("section .answer .text") == "A man with a bag."
        await becomes(page, "document.querySelector('.answer .used img').naturalWidth > 0")
        assert await page.query_selector("text=Stop waiting") is None
        await page.click(".answer .used button")
        await becomes(page, "document.querySelector('dialog video')?.currentTime > 0")
        assert await violations(page, pytestconfig) == []
        await page.keyboard.press("Escape")
        await page.wait_for_selector("dialog", state="detached")
        recent = "document.querySelectorAll('main > .stack:last-child .answer').length"
        assert await page.evaluate(recent) == 0, "what is shown above is not shown twice"
        await page.reload()
        await becomes(page, f"{recent} === 2")


async def test_it_shows_the_state_of_a_wait_and_stops_on_request(server: NatsServer, admin: Client) -> None:
    async with world(server, admin) as (console, openai), browsing(console, "anna", "operator") as page:
        openai.then = hang
        await page.goto(f"{console.url}#/ask?camera=lobby")
        await question(page, "Who?")
        await page.wait_for_selector("text=/in progress or waiting, including this one; workers: 1 ready/")
        await page.click("text=Stop waiting")
        await page.wait_for_selector("text=You stopped waiting")
        openai.then = MAN


async def test_a_failed_summary_shows_the_reason(server: NatsServer, admin: Client) -> None:
    async with world(server, admin) as (console, _), browsing(console, "anna", "operator") as page:
        await add_camera(admin, "dark")
        await page.goto(f"{console.url}#/ask?camera=dark&kind=summarize")
        await page.click("button:text-is('Summarise')")
        await page.wait_for_selector("section .bad:has-text('VLM_CAPTION_EVERY_S')")


@pytest.mark.parametrize(("width", "role"), [(360, "operator"), (1280, "operator"), (3840, "viewer")])
async def test_it_is_usable_at_every_width_and_accessible(
    server: NatsServer, admin: Client, pytestconfig: pytest.Config, width: int, role: Role
) -> None:
    async with world(server, admin) as (console, _):
        bea = await console.person("bea", "operator", sees_all=True)
        await bea.post("ask", json={"cameras": ["lobby"], "question": "Who?"})
        async with browsing(console, "anna", role, width=width) as page:
            await page.goto(f"{console.url}#/ask?camera=lobby,street")
            await page.wait_for_selector(".answer")
            assert bool(await page.query_selector("textarea")) == (role == "operator")
            for theme in ("dark", "light"):
                await page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
                assert await violations(page, pytestconfig) == []
                assert await overflows(page) <= 0
