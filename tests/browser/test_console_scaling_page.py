"""The page Scaling in a real browser: what runs, the what-if's form, its progress, and what came of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from nats.aio.client import Client

from services.console.web.asker import Role
from services.scaler.live.metadata import parse as query_of
from tests.support.console.browser import browsing, overflows, violations
from tests.support.console.people import Running, console_on
from tests.support.waiting import patience_s
from tests.support.worlds.scalers import estimating
from tests.support.worlds.whatif import CSV, ours
from tidegate.keda.scaledobject import parse
from tidegate.local.server import NatsServer

if TYPE_CHECKING:
    from playwright.async_api import Page

pytestmark = pytest.mark.slow
GO = "form button.primary"


@asynccontextmanager
async def scaling(console: Running, role: Role = "operator", width: int = 1280) -> AsyncIterator[Page]:
    async with browsing(console, "olga", role, width=width, allowed=_refused) as page:
        await page.goto(f"{console.url}#/scaling")
        await page.wait_for_selector("main h1")
        yield page


def _refused(text: str) -> bool:
    """The browser tells of every answer that is an error."""
    return "Failed to load resource" in text


async def simulates(page: Page) -> None:
    """A made-up trace that takes a moment."""
    await page.select_option("[name=arrivals]", "made_up")
    await page.select_option("[name=trace]", "bursts")
    await page.fill("[name=service_rate]", "1.5")
    await page.fill("[name=latency_target_s]", "10")
    await page.click(GO)


async def mistake(page: Page, name: str) -> str:
    """Wait for the error next to a field, and return it."""
    place = page.locator(f"#whatif-{name}-mistake")
    async with asyncio.timeout(patience_s()):
        while not (text := await place.inner_text()):
            await asyncio.sleep(0.05)
    assert await page.get_attribute(f"[name={name}]", "aria-invalid") == "true"
    assert await page.evaluate("document.activeElement.name") == name, "whoever uses a keyboard is there"
    return text


@pytest.mark.parametrize("width", [360, 1280, 3840])
async def test_it_shows_actual_and_simulated_replicas_at_every_width(
    server: NatsServer, admin: Client, pytestconfig: pytest.Config, width: int
) -> None:
    async with console_on(server, admin, cost_per_hour=2.5) as console, estimating(server) as live_metrics:
        await live_metrics.get(query_of({"service": "cv", "latencyTarget": "3", "coldStart": "45"})).answer()
        async with scaling(console, width=width) as page:
            card = page.locator("article", has=page.locator("h3", has_text="cv"))
            await card.locator(".bars svg").first.wait_for()
            await card.locator("summary").press("Enter")
            assert "coldStart" in await card.locator("details[open]").inner_text()
            assert await page.input_value("[name=price]") == "2.5"
            await simulates(page)
            await page.wait_for_selector("progress")
            await page.wait_for_selector(".scaling-answer table")
            assert await page.locator("tr.best .tag").inner_text() == "recommended"
            assert "a month" in await page.inner_text(".scaling-answer .big")
            assert "now" in await page.inner_text(".scaling-answer .big")
            drawn = "c => new Set(c.getContext('2d').getImageData(0, 0, c.width, c.height).data).size"
            assert await page.eval_on_selector("canvas", drawn) > 10, "something is drawn"
            assert await violations(page, pytestconfig) == []
            assert await overflows(page) <= 0


async def test_the_copied_text_is_a_scaledobject(server: NatsServer, admin: Client) -> None:
    async with console_on(server, admin) as console, scaling(console) as page:
        await page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        await simulates(page)
        await page.wait_for_selector(".scaling-answer table")
        await page.click("text=Copy")
        await page.wait_for_selector("text=Copied.")
        chosen = parse(await page.evaluate("navigator.clipboard.readText()"))
        await page.select_option(".yaml select", "static peak")
        static = parse(await page.inner_text("pre"))
        assert chosen.name == static.name == "tidegate-cv"
        assert static.spec.min_replica_count == static.spec.max_replica_count > chosen.spec.min_replica_count
        assert "against static peak" in await page.inner_text(".scaling-answer .big"), "no scaler says what runs now"


async def test_mistakes_are_shown_next_to_their_field(server: NatsServer, admin: Client, tmp_path: Path) -> None:
    async with console_on(server, admin) as console, scaling(console) as page:
        await page.click(GO)
        assert "nothing is known yet of what arrives at cv" in await mistake(page, "arrivals")
        await page.fill("[name=latency_target_s]", "soon")
        await page.click(GO)
        assert await mistake(page, "latency_target_s") == "Enter a number."
        assert await page.inner_text("#whatif-arrivals-mistake") == ""
        await page.fill("[name=latency_target_s]", "5")
        assert await page.inner_text("#whatif-latency_target_s-mistake") == ""
        await page.select_option("[name=arrivals]", "csv")
        await page.click(GO)
        assert await mistake(page, "csv") == "Choose a file."
        file = tmp_path / "theirs.csv"
        file.write_text("t_s,arrivals\n0,1\n1,many\n")
        await page.set_input_files("[name=csv]", file)
        await page.click(GO)
        assert "line 3" in await mistake(page, "csv")
        file.write_text(CSV)
        await page.set_input_files("[name=csv]", file)
        await page.click(GO)
        assert "say how many messages it does" in await mistake(page, "service_rate")
        await page.fill("[name=max_replicas]", "2.5")
        await page.click(GO)
        assert await mistake(page, "max_replicas") == "Enter a whole number."
        await page.fill("[name=max_replicas]", "4")
        await page.fill("[name=budgets]", "0, lots")
        await page.click(GO)
        assert "from 0 to 1" in await mistake(page, "budgets")
        await page.fill("[name=budgets]", "0.05")
        await page.fill("[name=service_rate]", "1.5")
        await page.click(GO)
        await page.wait_for_selector(".scaling-answer table")
        names = await page.locator(".scaling-answer td strong").all_inner_texts()
        assert "demand, bends 0.05" in names and "demand, bends 0.02" not in names


async def test_it_continues_in_the_background_and_can_be_cancelled(server: NatsServer, admin: Client) -> None:
    async with console_on(server, admin) as console, scaling(console) as page:
        await page.select_option("[name=arrivals]", "made_up")
        await page.fill("[name=service_rate]", "0.5")
        await page.click(GO)
        await page.wait_for_selector("progress")
        assert await page.is_disabled(GO)
        await page.goto(f"{console.url}#/nothing")
        await page.wait_for_selector("text=There is no such page")
        await page.goto(f"{console.url}#/scaling")
        await page.wait_for_selector("progress")
        assert len(ours()) > 0
        await page.click("text=Cancel")
        await page.wait_for_selector("progress", state="hidden")
        assert ours() == [] and await page.is_enabled(GO)


async def test_a_missing_right_is_explained(server: NatsServer, admin: Client) -> None:
    async with console_on(server, admin) as console:
        async with scaling(console, "viewer") as page:
            await page.wait_for_selector("text=What-ifs need the role operator")
            assert await page.query_selector(GO) is None
        await console.person("olga", "operator", cameras=["lobby"])
        async with scaling(console) as page:
            await page.wait_for_selector("text=you can see only some of them")
            options = await page.locator("[name=arrivals] option").all_inner_texts()
            assert options == ["A CSV file of t_s,arrivals", "A synthetic trace"]
