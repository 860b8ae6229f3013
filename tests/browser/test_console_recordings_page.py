"""The page Recordings in a real browser: video out of a real recorder, played, saved, and missing here and there."""

from __future__ import annotations

import datetime as dt
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import av
import msgspec
import pytest
from nats.aio.client import Client

from services.ingest.cutting.piece import Piece
from services.recorder.keeping import Keeper
from services.recorder.ledgers import Ledgers
from shared.contract import names
from shared.contract.work import runs
from shared.recordings.policy import Policy, nearest
from tests.support.console.browser import becomes, browsing, overflows, violations
from tests.support.console.people import Running, add_camera, console_on
from tests.support.processes.service_process import ServiceProcess
from tests.support.worlds.incidents import incident, say
from tests.support.worlds.recorder_world import World, filmed, publish, s, second, small, world
from tests.support.worlds.runs import put, put_raw, reanalysis
from tidegate.client.times import instant
from tidegate.local.server import NatsServer

if TYPE_CHECKING:
    from playwright.async_api import Page


class All:
    """A share of every camera."""

    def has(self, camera: str) -> bool:
        return True


__all__ = ["second", "small", "world"]
pytestmark = pytest.mark.slow

# Yesterday, so that nothing of it goes by age; away from midnight in most zones.
BEGIN = (dt.datetime.now(dt.UTC) - dt.timedelta(days=1)).replace(hour=9, minute=58, second=30, microsecond=0)
TIME = "document.querySelector('video').currentTime"
SHOWN = "document.querySelector('video').readyState >= 2"
STATUS_TEXT = "document.querySelector('.recordings-player [role=status]').textContent"
# The time is that of the page's own clock.
CLOCK = "new Date(document.querySelector('.clock').dateTime).getTime()"


async def recorded(world: World, second: Sequence[Piece], *cameras: str) -> ServiceProcess:
    """A minute of each, half a minute without video, and half a minute more, across the full hour."""
    recorder = world.recorder()
    for camera in cameras:
        await add_camera(world.admin, camera)
        await publish(world.admin, filmed(second, range(60), begin=BEGIN), camera)
        await publish(world.admin, filmed(second, range(30), epoch="e2", begin=BEGIN + s(90)), camera)
    await world.until_recorded(90 * len(cameras), cameras[-1])
    return recorder


def ms(seconds: float) -> float:
    """So long after the beginning, as browsers count."""
    return (BEGIN + s(seconds)).timestamp() * 1000


async def opened(page: Page, console: Running, at: float | None = None, camera: str = "cam") -> None:
    """Its recordings, and a picture of them."""
    time = "" if at is None else f"?at={(BEGIN + s(at)).isoformat().replace('+00:00', 'Z')}"
    await page.goto(f"{console.url}#/recordings/{camera}{time}")
    await becomes(page, "document.querySelector('video')?.readyState >= 2")


async def clock(page: Page) -> float:
    """Seconds after the beginning, as the player says."""
    found: float = await page.evaluate(CLOCK)
    return (found - ms(0)) / 1000


async def test_a_day_plays_and_gaps_are_skipped(world: World, second: Sequence[Piece]) -> None:
    recorder = await recorded(world, second, "cam")
    async with console_on(world.server, world.admin) as console, browsing(console, "anna", "viewer") as page:
        await say(world.admin, incident("a", "cam", rule="fence", start=BEGIN + s(20), state="end", end=BEGIN + s(22)))
        await page.goto(f"{console.url}#/recordings")
        await page.click("main table a:has-text('cam')")
        await becomes(page, "document.querySelector('video')?.readyState >= 2")
        assert await clock(page) == 0
        assert ", 30 s: the camera sent nothing" in await page.inner_text(".recordings-gaps li")
        await page.wait_for_selector(".recordings-timeline .mark.warning")
        assert "1 min 30 s recorded" in await page.inner_text(".recordings-calendar [aria-pressed=true]")
        began = await page.evaluate(TIME)
        await page.keyboard.press("Space")
        await becomes(page, f"{TIME} > {began + 2}")
        assert await clock(page) == pytest.approx(await page.evaluate(TIME) - began, abs=0.5)
        await opened(page, console, 55)
        assert await clock(page) == pytest.approx(55, abs=0.1)
        await page.keyboard.press("Space")
        await becomes(page, f"{CLOCK} > {ms(92)}")
        await page.wait_for_selector("main [role=status]:has-text('Jumped over 30 s: the camera sent nothing')")
        await page.wait_for_selector("main [role=status]:has-text('This is the end')")
        assert await clock(page) == pytest.approx(120, abs=0.5)
    assert await recorder.end() == 0


async def test_keyframes_alone_play_for_their_durations(world: World, second: Sequence[Piece]) -> None:
    recorder = await recorded(world, second, "cam")
    assert await recorder.end() == 0
    policy = Policy(record="incidents", rest="keyframes")
    await (await world.admin.jetstream().key_value(names.RECORDINGS)).put("camera.cam", msgspec.json.encode(policy))
    remaining = nearest("cam", {"camera.cam": policy})
    ledgers = Ledgers(world.admin.jetstream(), await world.admin.jetstream().key_value(names.RECORDER))
    keeper = Keeper(world.admin, world.library, ledgers, All(), lambda camera: remaining)  # type: ignore[arg-type]
    await keeper.keep("cam", remaining, dt.datetime.now(dt.UTC))
    files, _ = await world.library.between("cam", BEGIN - s(60), BEGIN + s(600), None)
    assert all(file.keyframes for file in files) and sum((file.end - file.start) / s(1) for file in files) == 90
    recorder = world.recorder()
    async with console_on(world.server, world.admin) as console, browsing(console, "anna", "viewer") as page:
        await opened(page, console)
        assert await clock(page) == 0
        await page.wait_for_selector(".recordings-facts:has-text('around incidents, keyframes of the rest')")
        await page.select_option(".speed select", "8")
        await page.click(".recordings-player .primary")
        await becomes(page, f"{CLOCK} > {ms(40)}")
        assert not await page.evaluate(STATUS_TEXT)
        await page.wait_for_selector("main [role=status]:has-text('This is the end')")
        # Browsers end at the last picture, which is shown for a second.
        assert await clock(page) == pytest.approx(119.5, abs=1)
    assert await recorder.end() == 0


async def test_playback_continues_if_a_camera_changes_its_size(
    world: World, second: Sequence[Piece], small: Sequence[Piece]
) -> None:
    """It also continues from one playlist to the next, since each has five minutes."""
    recorder = world.recorder()
    await add_camera(world.admin, "cam")
    await publish(world.admin, filmed(second, range(80, 95), begin=BEGIN))
    await publish(world.admin, filmed(small, range(95, 100), epoch="e2", begin=BEGIN))
    await world.until_recorded(20)
    async with console_on(world.server, world.admin) as console, browsing(console, "anna", "viewer") as page:
        await opened(page, console)
        assert await clock(page) == 80
        await page.select_option(".speed select", "4")
        width = await page.evaluate("document.querySelector('video').videoWidth")
        await page.click(".recordings-player .primary")
        await becomes(page, f"document.querySelector('video').videoWidth === 160 && {CLOCK} > {ms(95)}")
        await page.wait_for_selector("main [role=status]:has-text('This is the end')")
        assert await clock(page) == pytest.approx(100, abs=0.5)
        await page.keyboard.press("j")
        await page.click(".recordings-player .primary")
        await becomes(page, f"document.querySelector('video').videoWidth === {width} && {CLOCK} > {ms(85)}")
    assert await recorder.end() == 0


async def test_the_timeline_is_moved_by_keys_and_zoomed(world: World, second: Sequence[Piece]) -> None:
    recorder = await recorded(world, second, "cam")
    async with console_on(world.server, world.admin) as console, browsing(console, "anna", "viewer") as page:
        await opened(page, console)
        slider = page.locator(".recordings-timeline [role=slider]")
        await slider.focus()
        for key in ("+", "+", "+"):
            await page.keyboard.press(key)
        assert (await slider.get_attribute("aria-valuetext") or "").endswith(":58:30, recorded")
        for key in ("PageUp", "ArrowRight", "ArrowRight", "ArrowLeft"):
            await page.keyboard.press(key)
        await becomes(page, f"{CLOCK} === {ms(7)} && {SHOWN}")
        await page.keyboard.press("End")
        await becomes(page, f"{CLOCK} === {ms(119)} && {SHOWN}")
        await page.keyboard.press("j")
        await becomes(page, f"{CLOCK} === {ms(59)} && {SHOWN}")
        await page.keyboard.press(".")
        # There is no recording at this time: the next one is shown.
        await becomes(page, f"{CLOCK} === {ms(90)} && {SHOWN}")
        assert f"at={(BEGIN + s(119)):%Y-%m-%dT%H}%3A" in page.url
        box = await slider.bounding_box()
        assert box
        await page.click("[aria-label='Zoom out']")
        await page.click("[aria-label='Zoom out']")
        await page.click("[aria-label='Zoom out']")
        day = await page.evaluate("t => new Date(t).setHours(0, 0, 0, 0)", ms(0))
        place = (ms(100) - day) / 86_400_000
        await page.mouse.click(box["x"] + box["width"] * place, box["y"] + 30)
        await becomes(page, f"Math.abs({CLOCK} - {ms(100)}) < 120_000 && {SHOWN}")
    assert await recorder.end() == 0


async def test_it_continues_once_a_recorder_is_back(world: World, second: Sequence[Piece]) -> None:
    recorder = await recorded(world, second, "cam")
    async with (
        console_on(world.server, world.admin) as console,
        browsing(console, "anna", "viewer", allowed=lambda text: "503" in text) as page,
    ):
        await opened(page, console)
        assert await recorder.end() == 0
        await page.focus(".recordings-timeline [role=slider]")
        await page.keyboard.press("End")
        # The error is of the end, and not of the range after the start, which the page requests as well.
        await becomes(page, f"{CLOCK} === {ms(119)} && {STATUS_TEXT}.includes('no recorder answers')")
        recorder = world.recorder()
        await becomes(page, f"{CLOCK} === {ms(119)} && {SHOWN} && !{STATUS_TEXT}")
    assert await recorder.end() == 0


# An hour of which there is all, between two of which some is missing or not over, and one of the evening before.
HOURS = """async () => {
  const { splitHours } = await import(new URL("recordings/days.js", document.baseURI));
  const day = { since: 0, until: 24 * 3600_000 };
  const hour = (n, seconds, lost = {}) => ({ hour: new Date(n * 3600_000).toISOString(), seconds, bytes: 1, lost });
  const before = hour(-2, 3000, { camera: 9000 });
  const row = [before, hour(1, 1800), hour(2, 3590), hour(3, 3610), hour(4, 3000, { policy: 600 })];
  const hours = (spans) => spans.map(({ since, until }) => [since / 3600_000, until / 3600_000]);
  const { whole, partial } = splitHours(row, day);
  return [hours(whole), hours(partial)];
}"""


async def test_it_requests_only_hours_that_may_have_recordings(server: NatsServer, admin: Client) -> None:
    async with console_on(server, admin) as console, browsing(console, "anna", "viewer") as page:
        assert await page.evaluate(HOURS) == [[[2, 4]], [[-2, -1], [1, 2], [4, 5]]]


async def test_the_calendar_is_used_by_keys(world: World, second: Sequence[Piece]) -> None:
    recorder = await recorded(world, second, "cam")
    async with console_on(world.server, world.admin) as console, browsing(console, "anna", "viewer") as page:
        await opened(page, console)
        day = await page.evaluate("document.querySelector('.day[aria-pressed=true]').dataset.day")
        await page.focus(".day[aria-pressed=true]")
        for key, days in (("ArrowLeft", -1), ("ArrowUp", -7), ("ArrowRight", 1)):
            before = await page.evaluate("document.activeElement.dataset.day")
            await page.keyboard.press(key)
            after = await page.evaluate("document.activeElement.dataset.day")
            assert dt.date.fromisoformat(after) - dt.date.fromisoformat(before) == dt.timedelta(days=days)
        await page.keyboard.press("Enter")
        await page.wait_for_selector("main .empty:has-text('Nothing is recorded of this day')")
        assert f"day={after}" in page.url
        assert "nothing recorded" in await page.inner_text(".day[aria-pressed=true]")
        await page.keyboard.press("PageUp")
        await page.keyboard.press("PageDown")
        await page.reload()
        await page.wait_for_selector("main .empty:has-text('Nothing is recorded of this day')")
        while not await page.query_selector(f".day[data-day='{day}']"):
            await page.click("[aria-label='The month after']")
        await page.click(f".day[data-day='{day}']")
        await becomes(page, f"{CLOCK} === {ms(0)} && {SHOWN}")
        await page.wait_for_selector("main .empty", state="hidden")
    assert await recorder.end() == 0


async def test_a_range_is_saved(world: World, second: Sequence[Piece], tmp_path: Path) -> None:
    recorder = await recorded(world, second, "cam")
    async with console_on(world.server, world.admin) as console, browsing(console, "anna", "viewer") as page:
        await opened(page, console, 10)
        await page.keyboard.press("i")
        await page.keyboard.press("l")
        await becomes(page, f"{CLOCK} === {ms(90)} && {SHOWN}")
        await page.keyboard.press("o")
        about = page.locator(".recordings-export [role=status]").first
        assert (await about.inner_text()).startswith("1 min 20 s long, of which 50 s are recorded")
        end = await page.evaluate("document.querySelectorAll('.recordings-export input')[1].value")
        await page.fill(".recordings-export input >> nth=1", f"{end[:16]}:10")
        await page.keyboard.press("Tab")
        await page.wait_for_selector(".recordings-timeline .chosen")
        command = shlex.split(await page.inner_text(".recordings-command .command"))
        assert command[:4] == ["tidegate", "reanalyze", "--camera", "cam"]
        assert [instant(*part, BEGIN) for part in (command[4:6], command[6:])] == [BEGIN + s(10), BEGIN + s(100)]
        await page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        await page.click("text=Copy the command")
        await page.wait_for_selector("text=Copied.")
        assert await page.evaluate("navigator.clipboard.readText()") == " ".join(command)
        async with page.expect_download() as saving:
            await page.click("text=Download as MP4")
        download = await saving.value
        assert download.suggested_filename == f"cam-{BEGIN + s(10):%Y%m%dT%H%M%SZ}.mp4"
        await download.save_as(tmp_path / "saved.mp4")
        with av.open(str(tmp_path / "saved.mp4")) as file:
            assert sum(1 for _ in file.decode(video=0)) == 60 * 25
        await page.wait_for_selector(".recordings-export [role=status]:has-text('Downloading')")
        await page.fill(".recordings-export input >> nth=1", "2001-01-01T00:00:00")
        await page.keyboard.press("Tab")
        assert await about.inner_text() == "Set the end after the begin."
        assert await page.is_disabled("text=Download as MP4")
    assert await recorder.end() == 0


async def test_reanalyses_show_their_progress(
    server: NatsServer, admin: Client, pytestconfig: pytest.Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They do so without a recorder, too."""
    async with (
        console_on(server, admin) as console,
        browsing(console, "root", "admin", allowed=lambda text: "503" in text) as page,
    ):
        await page.goto(f"{console.url}#/recordings")
        await page.wait_for_selector("section .empty:has-text('No runs yet')")
        assert (await page.inner_text("section .empty code")).startswith("tidegate reanalyze ")
        await put(admin, reanalysis("r1", "cam", "door"))
        await page.wait_for_selector(".recordings-runs li:has-text('25 %, 120 frames/s, ends at ')")
        assert await page.evaluate("document.querySelector('.recordings-runs progress').value") == 0.25
        await put(admin, reanalysis("r1", "cam", "door", frames_done=3000, pieces_done=6))
        await page.wait_for_selector(".recordings-runs li:has-text('75 %')")
        words = {"state": "captioning", "frames_done": 4000, "captions": 90, "captions_done": 9}
        await put(admin, reanalysis("r1", "cam", "door", **words))
        await page.wait_for_selector(".recordings-runs .tag:has-text('captioning')")
        await page.wait_for_selector(".recordings-runs li:has-text('10 %, ends at ')")
        assert "9 of 90" in (await page.inner_text(".recordings-runs li")).split("\n")
        done = {"state": "done", "frames_done": 4000, "pieces_done": 8, "tracks": 1234, "incidents": 5, "ends": None}
        await put(admin, reanalysis("r1", "cam", "door", **done))
        await page.wait_for_selector(".recordings-runs .tag.good:has-text('done')")
        paragraph = (await page.inner_text(".recordings-runs li")).split("\n")
        assert {"100 %", "8 of 8", "4,000 of 4,000", "1,234", "5", "shelf", "/video/again/r1"} <= set(paragraph), (
            paragraph
        )
        assert not any("--resume" in line for line in paragraph)
        monkeypatch.setattr(runs, "SILENT_S", 0.0)
        await put(admin, reanalysis("r2", "cam", output="/video/the lobby's"))
        await put_raw(admin, "r3", b"{}")
        await page.reload()
        await page.wait_for_selector(".recordings-runs .tag.warn:has-text('no updates')")
        resume = await page.inner_text(".recordings-runs code")
        assert shlex.split(resume) == ["tidegate", "reanalyze", "--resume", "/video/the lobby's"]
        await page.wait_for_selector("main .mistake:has-text('The run r3 can')")
        assert await violations(page, pytestconfig) == []


async def test_a_user_limited_to_some_cameras_sees_only_their_recordings(world: World, second: Sequence[Piece]) -> None:
    recorder = await recorded(world, second, "cam", "vault")
    async with console_on(world.server, world.admin) as console:
        await console.person("anna", cameras=["cam"])
        async with browsing(console, "anna", "viewer", allowed=lambda text: "404" in text) as page:
            await page.goto(f"{console.url}#/recordings")
            await page.wait_for_selector("main table")
            assert await page.eval_on_selector_all("main tbody tr", "all => all.length") == 1
            await opened(page, console)
            assert await page.eval_on_selector_all("main .head option", "all => all.map(one => one.value)") == ["cam"]
            await page.goto(f"{console.url}#/recordings/vault")
            await page.wait_for_selector("main [role=alert]:has-text('vault')")
    assert await recorder.end() == 0


async def test_it_shows_the_remedy_if_nothing_is_recorded(
    world: World, second: Sequence[Piece], pytestconfig: pytest.Config
) -> None:
    async with (
        console_on(world.server, world.admin) as console,
        browsing(console, "anna", "viewer", allowed=lambda text: "503" in text) as page,
    ):
        await add_camera(world.admin, "cam")
        await page.goto(f"{console.url}#/recordings")
        await page.wait_for_selector("main .empty:has-text('No recorder is running')")
        assert await page.inner_text("main .empty code") == "tidegate up --record"
        assert await violations(page, pytestconfig) == []
        recorder = world.recorder()
        await page.wait_for_selector("main .empty:has-text('Nothing is recorded yet')")
        await page.goto(f"{console.url}#/recordings/cam")
        await page.wait_for_selector("main .empty:has-text('tidegate recordings set cam')")
        assert await violations(page, pytestconfig) == []
        await publish(world.admin, filmed(second, range(20), begin=BEGIN))
        await world.until_recorded(20)
        await page.reload()
        await becomes(page, "document.querySelector('video')?.readyState >= 2")
    assert await recorder.end() == 0


@pytest.mark.parametrize(("width", "theme"), [(360, "light"), (1280, "dark"), (3840, "dark")])
async def test_it_is_usable_at_every_width_and_accessible(
    world: World, second: Sequence[Piece], pytestconfig: pytest.Config, width: int, theme: str
) -> None:
    camera = "a-camera-of-the-car-park-in-the-north-of-the-second-building"
    recorder = await recorded(world, second, camera)
    async with console_on(world.server, world.admin) as console, browsing(console, "anna", "viewer") as page:
        await page.set_viewport_size({"width": width, "height": 800})
        await page.evaluate("theme => document.documentElement.dataset.theme = theme", theme)
        await put(
            world.admin, reanalysis("20261129-130500-3f9a", camera, output=f"/srv/{camera}/reanalyzed/{'x' * 80}")
        )
        await put(world.admin, reanalysis("20261129-130501-1b2c", camera, state="failed", reason=f"/srv/{'y' * 80}"))
        await page.goto(f"{console.url}#/recordings")
        await page.wait_for_selector("main table")
        await page.wait_for_selector(".recordings-runs li >> nth=1")
        assert await overflows(page) <= 0
        assert await violations(page, pytestconfig) == []
        await opened(page, console, 10, camera)
        await page.keyboard.press("i")
        await page.keyboard.press("l")
        await page.keyboard.press("o")
        await page.wait_for_selector(".recordings-timeline .chosen")
        assert await overflows(page) <= 0
        assert await violations(page, pytestconfig) == []
        await page.keyboard.press("?")
        await page.wait_for_selector("dialog kbd")
        assert await violations(page, pytestconfig) == []
    assert await recorder.end() == 0
