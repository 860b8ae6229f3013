"""The page Cameras in a real browser: the wall, a camera's form, and rules by mouse, finger, keyboard and text."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from nats.aio.client import Client

from shared.client import registry
from shared.contract import names
from shared.contract import rules as book
from tests.support.console.browser import becomes, browsing, overflows, violations
from tests.support.console.cameras import RULES, film, now, say, status
from tests.support.console.people import Running, add_camera, console_on
from tests.support.video import footage
from tests.support.video import rtsp_server as rtsp
from tests.support.video.walking_people import Walk, detections, publish
from tests.support.waiting import until
from tidegate.local.server import NatsServer

if TYPE_CHECKING:
    from playwright.async_api import Page, Route
from tests.support.console.absent import missing

pytestmark = pytest.mark.slow
WIDTHS = [360, 1280, 3840]
# The smallest JPEG that a browser shows: a pixel.
PIXEL = bytes.fromhex(
    "ffd8ffe000104a46494600010100000100010000ffdb004300030202020202030202020303030304060404040404080606050609080a0a090809"
    "090a0c0f0c0a0b0e0b09090d110d0e0f101011100a0c12131210130f101010ffc9000b080001000101011100ffcc000600101005ffda00080101"
    "00003f00d2cf20ffd9"
)


async def pictured(page: Page) -> list[int]:
    """Give every camera a picture; return the number of concurrent requests at each request."""
    running = 0
    at_once: list[int] = []

    async def answer(route: Route) -> None:
        nonlocal running
        running += 1
        at_once.append(running)
        await asyncio.sleep(0.02)
        running -= 1
        await route.fulfill(body=PIXEL, content_type="image/jpeg")

    await page.route("**/picture?*", answer)
    return at_once


async def stored(admin: Client, camera: str) -> dict[str, Any]:
    entry = await (await admin.jetstream().key_value(names.RULES)).get(camera)
    value: dict[str, Any] = json.loads(entry.value or b"{}")
    return value


async def test_a_wall_of_two_hundred_cameras_stays_the_same(server: NatsServer, admin: Client) -> None:
    """No element is recreated over time, few pictures load concurrently, and hidden pictures are dropped."""
    ids = [f"camera-{n:03}" for n in range(200)]
    for id in ids:
        await add_camera(admin, id)
        await say(admin, status(id, "online"), id)
    async with console_on(server, admin) as console, browsing(console, "root", "admin") as page:
        at_once = await pictured(page)
        await page.evaluate(
            "() => { window.kept = new Set(); const make = URL.createObjectURL, end = URL.revokeObjectURL;"
            "URL.createObjectURL = (b) => { const u = make.call(URL, b); window.kept.add(u); return u; };"
            "URL.revokeObjectURL = (u) => { window.kept.delete(u); end.call(URL, u); }; }"
        )
        for id in ids:
            await film(admin, id, 0)
        await page.goto(f"{console.url}#/cameras")
        await becomes(page, "document.querySelectorAll('.tile').length === 200")
        await becomes(page, "document.querySelectorAll('.tile img:not([hidden])').length > 10")
        elements = await page.evaluate("document.querySelectorAll('main *').length")
        await page.evaluate("document.querySelectorAll('.tile').forEach((tile) => { tile.same = true; })")
        seen = len(at_once)
        assert seen < 100, "pictures of cameras far below are asked for"
        await page.evaluate("scrollTo(0, document.body.scrollHeight)")
        await becomes(page, "!document.querySelector('li:last-child img').hidden")
        for id in ids:
            await film(admin, id, 1, ago_s=0)
        await until(lambda: len(at_once) > seen + 20)
        assert max(at_once) <= 6
        assert await page.evaluate("document.querySelectorAll('main *').length") == elements
        assert await page.evaluate("[...document.querySelectorAll('.tile')].every((tile) => tile.same)")
        await page.fill("input[type=search]", "camera-00")
        await becomes(page, "document.querySelectorAll('.tile').length === 10")
        assert await page.evaluate("window.kept.size") <= 10
        await page.click("text=Now")
        await becomes(page, "window.kept.size === 0")


async def test_a_camera_is_added_with_its_picture_and_a_mistake_is_next_to_its_field(
    server: NatsServer, admin: Client, tmp_path: Path
) -> None:
    footage.make(tmp_path / "lobby.mp4")
    async with (
        console_on(server, admin) as console,
        browsing(console, "root", "admin", allowed=missing) as page,
    ):
        await page.goto(f"{console.url}#/cameras?add=1")
        await page.fill("[name=id]", "the lobby")
        await page.click("button.primary")
        assert "Enter a name" in await page.inner_text("#id-mistake")
        await page.fill("[name=id]", "lobby")
        await page.fill("[name=url]", "rtsp://127.0.0.1:1/lobby")
        await page.click("text=Show its picture")
        await page.wait_for_selector("#url-mistake:has-text('Nothing listens')")
        assert await page.get_attribute("[name=url]", "aria-invalid") == "true"
        assert await page.inner_text("button.primary") == "Add it without a picture"
        with rtsp.serving(tmp_path, tmp_path / "log") as url:
            await page.fill("[name=url]", f"{url}/lobby.mp4?play_count=0")
            await page.click("text=Show its picture")
            await page.wait_for_selector(".tried img")
            await becomes(page, "document.querySelector('.tried img').naturalWidth === 320")
            assert await registry.all(admin.jetstream()) == {}, "nothing is saved before it is seen"
            await page.click("text=Add this camera")
            await page.wait_for_selector("dl.facts")
        assert list(await registry.all(admin.jetstream())) == ["lobby"]
        await page.click("text=Settings")
        await page.click("summary")
        await page.fill("[name=fps]", "5")
        await page.fill("[name=tiles]", "9x9")
        await page.click("text=Save")
        await page.wait_for_selector("#tiles-mistake:has-text('give columns and rows')")
        await page.fill("[name=tiles]", "")
        await page.fill("[name=detect]", "rtsp://127.0.0.2/sub")
        await page.click("text=Save")
        await page.wait_for_selector("#detect-mistake:has-text('a substream is of the same camera')")
        await page.fill("[name=detect]", "/sub")
        await page.click("text=Save")
        await page.wait_for_selector("dl.facts")
        entry = await registry.read(admin.jetstream(), "lobby")
        assert (entry.fps, entry.detect) == (5.0, f"{url}/sub")
        await page.click("text=Settings")
        await becomes(page, "(url) => document.querySelector('[name=detect]')?.value === url", entry.detect)
        await page.click("summary")
        await page.fill("[name=detect]", "")
        await page.click("text=Save")
        await page.wait_for_selector("dl.facts")
        assert (await registry.read(admin.jetstream(), "lobby")).detect is None
        await page.click("text=Disable")
        await page.click("dialog button.danger")
        await page.wait_for_selector("text=disabled")
        await page.click("button:text('Remove')")
        await page.click("dialog button.danger")
        await page.wait_for_selector("text=You can see no cameras")


async def opened(console: Running, page: Page, camera: str = "lobby") -> None:
    await pictured(page)
    await page.goto(f"{console.url}#/cameras/{camera}/rules")
    await page.wait_for_selector("svg.drawing")


async def corner(page: Page, n: int) -> tuple[float, float]:
    box = await page.locator(f".handle[data-corner='{n}']").bounding_box()
    assert box
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


async def at(page: Page, x: float, y: float) -> tuple[float, float]:
    """Return the position on the page of a point of the picture."""
    box = await page.locator("svg.drawing").bounding_box()
    assert box
    return box["x"] + x * box["width"], box["y"] + y * box["height"]


async def test_rules_are_drawn_by_mouse_and_previewed(server: NatsServer, admin: Client) -> None:
    await add_camera(admin, "lobby")
    begin = now() - dt.timedelta(minutes=5)
    await publish(admin, detections([Walk(0, 10, (0.2, 0.9), (0.8, 0.9))], 12, start=begin))
    async with console_on(server, admin) as console, browsing(console, "root", "admin") as page:
        await opened(console, page)
        await page.click("text=Draw a zone")
        for x, y in ((0.4, 0.5), (0.6, 0.5), (0.6, 0.95), (0.4, 0.95)):
            await page.mouse.click(*await at(page, x, y))
        await page.mouse.click(*await at(page, 0.4, 0.5))
        await page.wait_for_selector("text=Delete zone zone-1")
        await page.click("text=Add a rule")
        await page.wait_for_selector("text=1 incident in the last hour.")
        await page.mouse.move(*await corner(page, 0))
        await page.mouse.down()
        await page.mouse.move(*await at(page, 0.3, 0.25), steps=4)
        await page.mouse.up()
        await page.click("text=Save the rules")
        await page.wait_for_selector(".toast")
        found = await stored(admin, "lobby")
        polygon = found["zones"]["zone-1"]["polygon"]
        assert polygon[0] == pytest.approx([0.3, 0.25], abs=0.01) and polygon[2] == pytest.approx([0.6, 0.95], abs=0.01)
        assert found["rules"] == [{"id": "enter-1", "kind": "enter", "zone": "zone-1"}]
        before = await corner(page, 2)
        await page.mouse.move(*await at(page, 0.5, 0.8))
        await page.mouse.down()
        await page.mouse.move(*await at(page, 0.55, 0.8), steps=3)
        await page.mouse.up()
        assert (await corner(page, 2))[0] > before[0] + 10, "the whole is moved by its middle"
        await page.click("text=Undo")
        assert await corner(page, 2) == pytest.approx(before, abs=1)


async def test_rules_are_drawn_without_a_mouse(server: NatsServer, admin: Client) -> None:
    await add_camera(admin, "lobby")
    async with console_on(server, admin) as console, browsing(console, "root", "admin") as page:
        await opened(console, page)
        await page.focus("text=Draw a line")
        await page.keyboard.press("Enter")
        await page.keyboard.press("Enter")
        await page.wait_for_selector("text=Delete line line-1")
        assert await page.evaluate("document.activeElement.dataset.corner") == "0"
        await page.keyboard.press("Shift+ArrowLeft")
        await page.keyboard.press("ArrowDown")
        assert "45 % across, 75.5 % down" in (await page.get_attribute("[data-corner='0']", "aria-label") or "")
        await page.click("text=Draw a zone")
        await page.keyboard.press("Enter")
        for key in ("+", "ArrowRight", "Delete"):
            await page.keyboard.press(key)
        await page.click("text=Save the rules")
        await page.wait_for_selector(".toast")
        found = await stored(admin, "lobby")
        assert found["lines"] == {"line-1": {"from": [0.45, 0.755], "to": [0.5, 0.25]}}
        assert len(found["zones"]["zone-1"]["polygon"]) == 4


async def test_rules_are_drawn_by_touch(server: NatsServer, admin: Client) -> None:
    await add_camera(admin, "lobby")
    async with console_on(server, admin) as console, browsing(console, "root", "admin", width=360) as page:
        await opened(console, page)
        await page.click("text=Draw a zone")
        await page.keyboard.press("Enter")
        before = await corner(page, 1)
        finger = await page.context.new_cdp_session(page)
        for type, dx in (("touchStart", 0), ("touchMove", 20), ("touchMove", 40), ("touchEnd", None)):
            points = [] if dx is None else [{"x": before[0] + dx, "y": before[1]}]
            await finger.send("Input.dispatchTouchEvent", {"type": type, "touchPoints": points})
        assert (await corner(page, 1))[0] == pytest.approx(before[0] + 40, abs=2)


async def test_mistakes_are_shown_at_their_places(server: NatsServer, admin: Client) -> None:
    await add_camera(admin, "lobby")
    async with console_on(server, admin) as console, browsing(console, "root", "admin") as page:
        await opened(console, page)
        await page.select_option("select[aria-label='Kind of rule']", "loitering")
        await page.click("text=Add a rule")
        await page.wait_for_selector("details .mistake:has-text(\"'zone' is missing\")")
        assert await page.is_disabled("text=Save the rules")
        await page.click("text=Draw a zone")
        await page.keyboard.press("Enter")
        await page.select_option("[data-path='rules[0].zone']", "zone-1")
        await page.fill("[data-path='rules[0].seconds']", "-3")
        await page.wait_for_selector(".field .mistake:has-text('expected')")
        assert await page.get_attribute("[data-path='rules[0].seconds']", "aria-invalid") == "true"
        await page.fill("[data-path='rules[0].seconds']", "30")
        await becomes(page, "!document.querySelector('.editor button.primary, .head button.primary').disabled")
        await page.fill("#rule-text", "zones:\n  door:\n    polygon: [[0, 0], [1, 1]]\n")
        await page.wait_for_selector("text=line 3")
        await page.click("text=line 3")
        assert (
            await page.evaluate(
                "getSelection().toString() || document.activeElement.value.slice("
                "document.activeElement.selectionStart, document.activeElement.selectionEnd)"
            )
            == "    polygon: [[0, 0], [1, 1]]"
        )
        await page.fill("#rule-text", json.dumps(RULES))
        await page.wait_for_selector("text=zone door")
        await page.click("text=Save the rules")
        await page.wait_for_selector(".toast")
        assert await stored(admin, "lobby") == RULES


async def test_every_kind_of_rule_has_a_form(server: NatsServer, admin: Client) -> None:
    await add_camera(admin, "lobby")
    async with console_on(server, admin) as console, browsing(console, "root", "admin") as page:
        await opened(console, page)
        for what in ("zone", "line"):
            await page.click(f"text=Draw a {what}")
            await page.keyboard.press("Enter")
        kinds = await page.eval_on_selector_all(
            "select[aria-label='Kind of rule'] option", "all => all.map(o => o.value)"
        )
        assert len(kinds) == 10
        for kind in kinds:
            await page.select_option("select[aria-label='Kind of rule']", kind)
            await page.click("text=Add a rule")
        await page.click("text=Labels, filters, schedules")
        await page.fill("input[aria-label='New name in Schedules']", "night")
        await page.click("fieldset:has(> legend:text('Schedules')) button:text('Add')")
        await page.fill("[data-path='schedules.night.from']", "22:00")
        await page.fill("[data-path='schedules.night.until']", "06:00")
        await page.uncheck("[data-path='schedules.night.days'] input[value=sun]")
        await page.fill("input[aria-label='New name in Filters, by label']", "person")
        await page.click("fieldset:has(> legend:text('Filters, by label')) > .adding button")
        await page.fill("[data-path='filters.person.min_score']", "0.4")
        await page.click("text=Save the rules")
        await page.wait_for_selector(".toast")
        found = await stored(admin, "lobby")
        assert [rule["kind"] for rule in found["rules"]] == kinds
        assert found["schedules"]["night"]["days"] == ["mon", "tue", "wed", "thu", "fri", "sat"]
        assert found["filters"] == {"person": {"min_score": 0.4}}
        assert book.check(found) == []


async def test_concurrent_changes_of_the_same_rules_are_reported(server: NatsServer, admin: Client) -> None:
    await add_camera(admin, "lobby")
    async with (
        console_on(server, admin) as console,
        browsing(console, "root", "admin", allowed=missing) as page,
    ):
        await opened(console, page)
        await page.click("text=Draw a zone")
        await page.keyboard.press("Enter")
        olga = await console.person("olga", "operator", sees_all=True)
        assert (await olga.put("cameras/lobby/rules", json={"rules": RULES})).status_code == 200
        await page.click("text=Save the rules")
        await page.wait_for_selector("text=Someone else has changed these rules")
        assert await stored(admin, "lobby") == RULES


async def test_a_viewer_can_read_and_change_nothing(server: NatsServer, admin: Client) -> None:
    await add_camera(admin, "lobby")
    async with console_on(server, admin) as console, browsing(console, "anna", "viewer", allowed=missing) as page:
        await page.goto(f"{console.url}#/cameras")
        await page.wait_for_selector("h1")
        assert not await page.query_selector("text=Add a camera")


@pytest.mark.parametrize("width", WIDTHS)
async def test_the_pages_are_usable_at_every_width_and_accessible(
    server: NatsServer, admin: Client, pytestconfig: pytest.Config, width: int
) -> None:
    for id in ("lobby", "yard"):
        await add_camera(admin, id)
    await say(admin, status("yard", "offline", "nothing listens at the camera's address"), "1")
    async with console_on(server, admin) as console, browsing(console, "root", "admin", width=width) as page:
        await opened(console, page)
        await page.click("text=Draw a zone")
        await page.keyboard.press("Enter")
        await page.click("text=Add a rule")
        await page.wait_for_selector("text=in the last hour")
        for path, wait in (
            ("cameras/lobby/rules", "svg.drawing"),
            ("cameras", ".tile"),
            ("cameras/lobby", "dl"),
            ("cameras/yard/settings", "form"),
            ("cameras?add=1", "form"),
        ):
            await page.goto(f"{console.url}#/{path}")
            await page.wait_for_selector(wait)
            assert await violations(page, pytestconfig) == [], path
            assert await overflows(page) <= 0, path
