"""The page Models in a real browser: what runs, the table of measured models, its price, and the choice of one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from nats.aio.client import Client

from services.console.web.asker import Role
from shared.models import measured
from tests.support.console.browser import becomes, browsing, overflows, violations
from tests.support.console.models import YAML, measure, works
from tests.support.console.people import Running, console_on
from tests.support.worlds.now_bodies import beat
from tidegate.local.server import NatsServer
from tidegate.models.capacity import camera_day

if TYPE_CHECKING:
    from playwright.async_api import Page

pytestmark = pytest.mark.slow
ROWS = "[aria-label='Measured models'] tbody tr"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "models"
    measure(found, "street")
    measure(found, "yard", rate=21.3)
    measure(found, "gate", rate=0.9)
    return found


@asynccontextmanager
async def models(console: Running, role: Role = "admin", width: int = 1280) -> AsyncIterator[Page]:
    async with browsing(console, "olga", role, width=width, allowed=lambda text: "Failed to load" in text) as page:
        await page.goto(f"{console.url}#/models")
        await page.wait_for_selector("main h2")
        yield page


async def order(page: Page) -> list[str]:
    return await page.locator(f"{ROWS} td:first-child strong").all_inner_texts()


@pytest.mark.parametrize("width", [360, 1280, 3840])
async def test_models_are_compared_by_cost_at_every_width(
    server: NatsServer, admin: Client, folder: Path, pytestconfig: pytest.Config, width: int
) -> None:
    (folder.parent / "gate.onnx").unlink()
    (folder / "broken.json").write_text("{")
    at = beat(10.0, processed=50, items=250, model="yard", device="cpu")
    async with (
        console_on(server, admin, console_models=str(folder)) as console,
        works(server, at),
        models(console, width=width) as page,
    ):
        await page.wait_for_selector("text=type a price")
        await page.fill("[name=price]", "0.4")
        await becomes(page, "() => !document.body.innerText.includes('type a price')")
        assert (await order(page))[:2] == ["yard", "street"]
        cost = camera_day(0.4, 8.35, 1.0)
        assert f"{cost:.3g}" in await page.inner_text(f"{ROWS} >> nth=1")
        assert "is missing" in await page.inner_text(f"{ROWS}:has-text('gate')")
        assert "can't be read" in await page.inner_text(f"{ROWS}:has-text('broken')")
        await page.wait_for_selector("[aria-label='Running now'] tbody td:has-text('cpu')")
        await page.select_option("[name=sort]", "name")
        assert (await order(page))[:3] == ["gate", "street", "yard"]
        await page.reload()
        await page.wait_for_selector(ROWS)
        assert await page.input_value("[name=price]") == "0.4", "the browser remembers it"
        assert await violations(page, pytestconfig) == []
        assert await overflows(page) <= 0


async def test_an_admin_chooses_by_keyboard_and_goes_back(server: NatsServer, admin: Client, folder: Path) -> None:
    async with console_on(server, admin, console_models=str(folder)) as console, models(console) as page:
        use = page.get_by_role("button", name="Use at next start: street")
        await use.press("Enter")
        await page.wait_for_selector("dialog")
        await page.keyboard.press("Enter")
        await page.wait_for_selector("dialog", state="detached")
        assert measured.active_name(folder) == "", "the first button cancels"
        await use.press("Enter")
        await page.locator("dialog button.danger").press("Enter")
        await page.wait_for_selector(f"{ROWS}.best .tag:has-text('active')")
        assert measured.active_name(folder) == "street"
        measured.use(folder, "yard")
        await page.get_by_role("button", name="Back to the default", exact=True).press("Enter")
        await page.locator("dialog button.danger").press("Enter")
        await page.wait_for_selector("text=somebody else has chosen the model 'yard'")
        await page.wait_for_selector(f"{ROWS}.best:has-text('yard')")
        await page.get_by_role("button", name="Back to the default", exact=True).press("Enter")
        await page.locator("dialog button.danger").press("Enter")
        await page.wait_for_selector(f"{ROWS}.best", state="detached")
        assert measured.active_name(folder) == ""


async def test_texts_are_copied_and_pictures_enlarged(server: NatsServer, admin: Client, folder: Path) -> None:
    async with console_on(server, admin, console_models=str(folder)) as console, models(console, "viewer") as page:
        await page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        assert await page.get_by_role("button", name="Use at next start").count() == 0
        await page.wait_for_selector("text=needs the role admin")
        await page.get_by_role("button", name="Enlarge: boxes of street").click()
        await becomes(page, "() => document.querySelector('dialog img')?.naturalWidth === 960")
        await page.keyboard.press("Escape")
        await page.get_by_role("button", name="street: settings and ScaledObject").click()
        await page.get_by_role("button", name="Copy: ScaledObject of street").click()
        await page.wait_for_selector("text=Copied.")
        assert await page.evaluate("navigator.clipboard.readText()") == YAML
        await page.keyboard.press("Escape")
        await page.get_by_role("button", name="Copy: Go back to the default").click()
        await becomes(page, "() => navigator.clipboard.readText().then(t => t === 'tidegate model use --default')")


async def test_empty_states_say_what_to_do(server: NatsServer, admin: Client, tmp_path: Path) -> None:
    async with console_on(server, admin) as console, models(console) as page:
        await page.wait_for_selector("text=This console has no folder of measured models")
    async with console_on(server, admin, console_models=str(tmp_path / "models")) as console:
        async with models(console) as page:
            await page.wait_for_selector("text=No model is measured yet.")
            await page.wait_for_selector("text=tidegate model add")
        await console.person("olga", "viewer", cameras=["lobby"])
        async with models(console, "viewer") as page:
            await page.wait_for_selector("text=you can see only some of them")
