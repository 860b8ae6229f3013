"""The pages System, People and Me in a real browser."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from nats.aio.client import Client

from shared.contract import deadletters
from tests.support.console.browser import browsing, overflows, violations
from tests.support.console.oidc import both
from tests.support.console.people import Running, add_camera, console_on
from tidegate.local.server import NatsServer

if TYPE_CHECKING:
    from playwright.async_api import Page

pytestmark = pytest.mark.slow


async def dead_letter(admin: Client, payload: bytes) -> int:
    js = admin.jetstream()
    seq = (await js.publish("media.lobby", payload)).seq
    headers = deadletters.dead_letter_headers(
        "cv", "no keyframe", stream="MEDIA", seq=seq, subject="media.lobby", deliveries=5, headers={}
    )
    return int((await js.publish("dlq.cv", payload, headers=headers)).seq)


async def go(page: Page, console: Running, path: str, sign: str) -> None:
    await page.goto(f"{console.url}#/{path}")
    await page.wait_for_selector(sign)


@pytest.mark.parametrize("width", [360, 1280, 3840])
async def test_every_part_is_usable_at_every_width_and_accessible(
    server: NatsServer, admin: Client, pytestconfig: pytest.Config, width: int
) -> None:
    async with console_on(server, admin) as console, browsing(console, "root", "admin", width=width) as page:
        for n in range(10):
            await add_camera(admin, f"camera-with-a-long-name-{n}")
        await dead_letter(admin, b"video")
        root = await console.signed_in("root")
        await root.put("people/somebody-with-a-long-name", json={"role": "viewer"})
        await root.put("groups/ways", json={"cameras": [f"camera-with-a-long-name-{n}" for n in range(10)]})
        await root.post("me/tokens", json={"label": "a wall of screens"})
        for path, sign in (
            ("system", ".finding"),
            ("system/streams", "text=MEDIA"),
            ("system/letters", "text=no keyframe"),
            ("system/audit", "text=token.add"),
            ("system/versions", "text=nats-server"),
            ("people", "text=somebody-with-a-long-name"),
            ("people/groups", "text=ways"),
            ("me", "text=a wall of screens"),
        ):
            await go(page, console, path, sign)
            assert await violations(page, pytestconfig) == [], path
            assert await overflows(page) <= 0, path
        await go(page, console, "people", "text=Add a person")
        await page.click("text=Add a person")
        await page.wait_for_selector("dialog[open]")
        assert await violations(page, pytestconfig) == []
        assert await overflows(page) <= 0


async def test_a_dead_letter_is_shown_and_replayed(server: NatsServer, admin: Client) -> None:
    async with (
        console_on(server, admin) as console,
        browsing(console, "root", "admin", allowed=lambda text: "502" in text) as page,
    ):
        first, second = await dead_letter(admin, b"one"), await dead_letter(admin, b"two")
        await go(page, console, "system/letters", "text=no keyframe")
        await page.click(f"[aria-label='View: Dead letter {first}']")
        await page.wait_for_selector("text=No picture can be decoded")
        assert await page.inner_text("dialog h2") == f"Dead letter {first}"
        await page.keyboard.press("Escape")
        await page.wait_for_selector("dialog", state="detached")
        await page.click(f"[aria-label='Replay: Dead letter {first}']")
        await page.wait_for_selector(f"text=Dead letter {first} is back in MEDIA")
        await page.click(f"[aria-label='Delete: Dead letter {second}']")
        await page.click("dialog button.danger")
        await page.wait_for_selector("text=There are no dead letters")
        assert (await admin.jetstream().stream_info("DLQ")).state.messages == 0
        assert (await admin.jetstream().get_msg("MEDIA", 3)).data == b"one"


async def test_a_person_is_invited_by_a_link_that_is_shown_once(server: NatsServer, admin: Client) -> None:
    async with (
        console_on(server, admin) as console,
        browsing(console, "root", "admin", allowed=lambda text: "400" in text) as page,
    ):
        for id in ("lobby", "vault"):
            await add_camera(admin, id)
        await go(page, console, "people", "text=Add a person")
        await page.click("text=Add a person")
        await page.fill("dialog input[name=name]", "not a name")
        await page.click("dialog button.primary")
        await page.wait_for_selector('dialog .mistake:has-text("can\'t be used")')
        await page.fill("dialog input[name=name]", "anna")
        await page.select_option("dialog select[name=role]", "operator")
        await page.check("dialog label:has-text('lobby') input")
        await page.click("dialog button.primary")
        await page.wait_for_selector("text=anna is saved")
        await page.click("[aria-label='Link: anna']")
        address = await page.input_value("dialog input")
        await page.click("dialog >> text=Close")
        context = await page.context.browser.new_context()  # type: ignore[union-attr]
        other = await context.new_page()
        await other.goto(address)
        await other.wait_for_selector("text=anna, operator")
        await other.goto(f"{console.url}#/me")
        await other.wait_for_selector("text=Sees: lobby")
        await page.click("[aria-label='Remove: anna']")
        await page.click("dialog button.danger")
        await page.wait_for_selector("text=anna is removed")
        await other.reload()
        await other.wait_for_selector("input[name=password]")
        await context.close()


async def test_a_user_sets_a_password_and_creates_a_token(server: NatsServer, admin: Client) -> None:
    async with console_on(server, admin) as console, browsing(console, "root", "admin") as page:
        await add_camera(admin, "lobby")
        await go(page, console, "me", "text=You have no password yet")
        await page.fill("input[autocomplete=new-password]", "correct horse battery")
        await page.click("text=Set the password")
        await page.wait_for_selector("text=The password is set")
        await page.click("text=New token")
        await page.fill("dialog input[name=label]", "wall")
        await page.select_option("dialog select[name=role]", "viewer")
        await page.click("dialog button.primary")
        await page.wait_for_selector("dialog input.mono")
        program = console.nobody(Authorization=f"Bearer {await page.input_value('dialog input.mono')}")
        me = (await program.get("me")).json()
        assert (me["name"], me["role"], me["via"]) == ("root", "viewer", "token")
        await page.click("dialog >> text=Close")
        await page.click("[aria-label='Remove: wall']")
        await page.click("dialog button.danger")
        await page.wait_for_selector("text=The token has ended")
        assert (await program.get("me")).status_code == 401
        await page.click("text=Sign out everywhere")
        await page.click("dialog button.danger")
        await page.wait_for_selector("input[name=password]")


async def test_a_user_limited_to_some_cameras_sees_why_others_are_hidden(server: NatsServer, admin: Client) -> None:
    async with (
        console_on(server, admin) as console,
        browsing(console, "root", "admin", allowed=lambda text: "403" in text) as page,
    ):
        root = await console.signed_in("root")
        await root.put("people/other", json={"role": "admin", "sees_all": True})
        await root.put("people/root", json={"role": "viewer"})
        await page.reload()
        await go(page, console, "system/streams", "text=covers all cameras")
        assert await page.query_selector("text=Dead letters") is None


async def test_a_user_signs_in_by_the_organisation(server: NatsServer, admin: Client) -> None:
    """Cookies as a real browser has them: what is sent after another site's redirect, and what is not."""
    async with both(server, admin) as (_, console), browsing(console, "root", "admin") as page:
        context = await page.context.browser.new_context()  # type: ignore[union-attr]
        other = await context.new_page()
        await other.goto(console.url)
        await other.click("text=Sign in with your organisation")
        await other.wait_for_selector("text=anna, viewer")
        remaining = {cookie["name"]: cookie for cookie in await context.cookies()}
        assert set(remaining) == {"tidegate_session"} and remaining["tidegate_session"]["httpOnly"]
        await context.close()
