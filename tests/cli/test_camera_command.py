"""`tidegate camera`, run as people run it, and what then lies in the buckets."""

from __future__ import annotations

import asyncio
import json
import subprocess
from pathlib import Path

import msgspec
import pytest
from nats.aio.client import Client

from shared.client import registry
from shared.client.registry import CameraThere
from shared.contract import names
from shared.contract.cameras import Camera, new_camera
from shared.contract.credentials import Credentials
from shared.runtime.errors import SettingError
from tests.support.processes.command_line import tidegate_on
from tidegate.local.server import NatsServer

URL = "rtsp://me:hunter2@10.0.0.7:554/stream1"
BARE = "rtsp://10.0.0.7:554/stream1"


class People:
    """A person at a terminal, and the contents of the buckets."""

    def __init__(self, server: NatsServer, admin: Client, folder: Path) -> None:
        self._server, self._js, self._folder = server, admin.jetstream(), folder

    async def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        done = await tidegate_on(self._server, "camera", *arguments, cwd=self._folder)
        assert "hunter2" not in done.stdout + done.stderr
        assert "Traceback" not in done.stderr, done.stderr
        return done

    async def works(self, *arguments: str) -> str:
        done = await self.run(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    async def refused(self, *arguments: str) -> str:
        done = await self.run(*arguments)
        assert done.returncode == 1, (done.stdout, done.stderr)
        return done.stderr

    async def camera(self, id: str = "lobby") -> Camera:
        return await registry.read(self._js, id)

    async def password(self, id: str = "lobby") -> str | None:
        stored = await registry.credentials(self._js, id)
        return stored.secret if stored else None


@pytest.fixture
def people(server: NatsServer, admin: Client, tmp_path: Path) -> People:
    return People(server, admin, tmp_path)


@pytest.mark.slow
async def test_set_changes_only_the_named_fields(people: People) -> None:
    await people.works("add", "lobby", URL, "--fps", "5", "--classes", "person,car", "--udp", "--caption-every", "30")
    before = await people.camera()
    output = await people.works("set", "lobby", "--fps", "2", "--tiles", "2x1", "--min-score", "0.3", "--model", "yard")
    assert "fps 2 (was 5)" in output and "tiles 2x1" in output and "model yard" in output
    assert await people.camera() == msgspec.structs.replace(before, fps=2.0, tiles="2x1", min_score=0.3, model="yard")
    assert await people.password() == "me:hunter2"
    await people.works(
        "set", "lobby", "--unset", "classes", "--unset", "tiles", "--unset", "model", "--tcp", "--fast", "--loop"
    )
    assert await people.camera() == Camera(
        url=BARE, fps=2.0, min_score=0.3, caption_every_s=30, realtime=False, loop=True
    )
    await people.works("disable", "lobby")
    await people.works("set", "lobby", "--realtime", "--no-loop")
    assert await people.camera() == Camera(url=BARE, fps=2.0, min_score=0.3, caption_every_s=30, enabled=False)
    assert await people.password() == "me:hunter2"
    assert "nothing to change" in await people.works("set", "lobby", "--fps", "2")


@pytest.mark.slow
async def test_a_substream_is_set_shown_and_unset(people: People, tmp_path: Path) -> None:
    await people.works("add", "lobby", URL, "--detect", "/sub?channel=1")
    detect = "rtsp://10.0.0.7:554/sub?channel=1"
    assert await people.camera() == Camera(url=BARE, detect=detect)
    assert detect in await people.works("show", "lobby") and BARE in await people.works("list")
    listed = json.loads((await people.works("list", "--json")).splitlines()[0])
    assert (listed["detect"], listed["main"]) == (detect, None)
    output = await people.works("set", "lobby", "--detect", "rtsp://me:hunter2@10.0.0.7:554/other")
    assert f"detect rtsp://10.0.0.7:554/other (was {detect})" in output and "warning: a password" in output
    assert "give its path" in await people.refused("set", "lobby", "--detect", "rtsp://10.0.0.8/sub")
    assert "those of url apply" in await people.refused("set", "lobby", "--detect", "rtsp://me:hunter22@10.0.0.7/sub")
    assert "or unset it" in await people.refused("set", "lobby", "--url", "rtsp://10.0.0.8/main")
    await people.works("set", "lobby", "--url", "rtsp://10.0.0.8/main", "--detect", "/sub")
    assert await people.camera() == Camera(url="rtsp://10.0.0.8/main", detect="rtsp://10.0.0.8/sub")
    await people.works("set", "lobby", "--unset", "detect")
    assert await people.camera() == Camera(url="rtsp://10.0.0.8/main")
    for name in ("main.mp4", "sub.mp4"):
        (tmp_path / name).touch()
    await people.works("add", "film", "main.mp4", "--detect", "sub.mp4")
    film = Camera(url=(tmp_path / "main.mp4").as_uri(), detect=(tmp_path / "sub.mp4").as_uri())
    assert await people.camera("film") == film


@pytest.mark.slow
async def test_a_password_stays_with_its_address(people: People) -> None:
    await people.works("add", "lobby", URL)
    for same in ("rtsp://10.0.0.7/other", "RTSP://10.0.0.7:554/stream1"):
        assert "password" not in await people.works("set", "lobby", "--url", same)
        assert await people.password() == "me:hunter2"
    assert (await people.camera()).url == BARE
    for other in ("rtsp://10.0.0.8:554/stream1", "rtsps://10.0.0.7:554/stream1", "rtsp://10.0.0.7:8554/stream1"):
        output = await people.works("set", "lobby", "--url", other)
        assert "its password was for rtsp://10.0.0.7:554 and is forgotten" in output and "--password-stdin" in output
        assert (await people.camera()).url == other and await people.password() is None
        await people.works("set", "lobby", "--url", URL)
    output = await people.works("set", "lobby", "--url", "rtsp://me:hunter22@10.0.0.8/stream1")
    assert "password changed, for rtsp://10.0.0.8:554" in output
    assert await people.password() == "me:hunter22"
    await people.works("set", "lobby", "--unset", "password")
    assert (await people.camera()).url == "rtsp://10.0.0.8/stream1" and await people.password() is None
    # Where the password is a part of the URL, neither can be had without the other.
    await people.works("set", "lobby", "--url", "rtsp://10.0.0.8/live?user=me&password=hunter2")
    assert "give --url" in await people.refused("set", "lobby", "--url", "rtsp://10.0.0.9/live")
    assert "give --url" in await people.refused("set", "lobby", "--unset", "password")
    await people.works("set", "lobby", "--fps", "3")
    assert await people.password() == "rtsp://10.0.0.8/live?user=me&password=hunter2"


@pytest.mark.slow
async def test_set_refuses_empty_and_invalid_changes(people: People) -> None:
    assert "camera list" in await people.refused("set", "lobby", "--fps", "5")
    await people.works("add", "lobby", URL)
    before = await people.camera()
    for arguments, words in (
        ((), "say what to change"),
        (("--fps", "-1"), "fps"),
        (("--tiles", "9x9"), "tiles is '9x9'"),
        (("--model", "/models/yard.onnx"), "model is '/models/yard.onnx': give"),
        (("--classes", " , "), "--unset classes"),
        (("--fps", "5", "--unset", "fps"), "--unset fps"),
        (("--url", "http://x/y"), "rtsp://"),
        (("--caption-every", "0.5"), "caption_every_s is 0.5"),
    ):
        assert words in await people.refused("set", "lobby", *arguments)
    assert await people.camera() == before and await people.password() == "me:hunter2"


@pytest.mark.parametrize("command", [("show",), ("set", "--fps", "5"), ("remove",), ("enable",), ("disable",)])
async def test_an_unknown_camera_is_answered_with_the_nearest_name(people: People, command: tuple[str, ...]) -> None:
    await people.works("add", "lobby", URL)
    name, *options = command
    output = await people.refused(name, "loby", *options)
    assert output == "tidegate: there is no camera 'loby': did you mean 'lobby'?\n"
    assert "'tidegate camera list' shows all" in await people.refused(name, "warehouse", *options)


async def test_a_file_whose_name_has_an_at_sign_is_a_file(people: People, tmp_path: Path) -> None:
    (tmp_path / "me@home.mp4").write_bytes(b"")
    await people.works("add", "lobby", "me@home.mp4")
    assert (await people.camera()).url == (tmp_path / "me@home.mp4").as_uri()
    assert "give rtsp://" in await people.refused("add", "hall", "me:hunter2@10.0.0.7/stream1")


@pytest.mark.slow
async def test_an_empty_address_is_refused_as_empty(people: People) -> None:
    assert "URL is empty: give a file, or" in await people.refused("add", "lobby", "")
    assert "URL is empty: give a file, or" in await people.refused("add", "lobby", " ")
    await people.works("add", "lobby", URL)
    assert "URL is empty: give a file, or" in await people.refused("set", "lobby", "--url", "")
    assert await people.camera() == Camera(url=BARE) and await people.password() == "me:hunter2"


@pytest.mark.slow
async def test_an_invalid_setting_is_answered_with_the_remedy(people: People) -> None:
    await people.works("add", "lobby", URL)
    long = "x" * 4001
    for option, value, sentence in (
        ("--fps", "nan", "camera fps is nan: give a number over 0 up to 120\n"),
        ("--fps", "-1", "camera fps is -1: give a number over 0 up to 120\n"),
        ("--min-score", "nan", "camera min_score is nan: give a number from 0 up to 1\n"),
        ("--caption-every", "inf", "camera caption_every_s is inf: give a number from 0 up to 3600\n"),
        ("--caption-every", "0.5", "camera caption_every_s is 0.5: give 1 or more, or 0\n"),
        (
            "--caption-prompt",
            long,
            f"camera caption_prompt is '{long[:60]}…': give a text of at most 4000 characters\n",
        ),
    ):
        assert await people.refused("add", "hall", URL, option, value) == f"tidegate: {sentence}"
        assert await people.refused("set", "lobby", option, value) == f"tidegate: {sentence}"
    assert await people.camera() == Camera(url=BARE)


@pytest.mark.slow
async def test_add_does_not_overwrite_a_camera(people: People) -> None:
    await people.works("add", "lobby", URL, "--fps", "5")
    for again in (URL, BARE, "rtsp://10.0.0.9/x"):
        output = await people.refused("add", "lobby", again, "--tiles", "2x1")
        assert "tidegate camera set lobby" in output and "--replace" in output
    assert await people.camera() == Camera(url=BARE, fps=5.0) and await people.password() == "me:hunter2"
    await people.works("add", "lobby", BARE, "--tiles", "2x1", "--replace")
    assert await people.camera() == Camera(url=BARE, tiles="2x1") and await people.password() is None
    await people.works("remove", "lobby")
    await people.works("add", "lobby", URL)
    assert await people.password() == "me:hunter2"


async def test_concurrent_changes_lose_nothing(admin: Client) -> None:
    js = admin.jetstream()
    await registry.add(js, "lobby", *new_camera(URL))
    wanted = {"fps": 3.0, "min_score": 0.2, "tiles": "2x2", "classes": ["person"], "loop": True, "caption_every_s": 9.0}
    await asyncio.gather(*(registry.change(js, "lobby", {name: value}) for name, value in wanted.items()))
    assert await registry.read(js, "lobby") == Camera(url=BARE, **wanted)  # type: ignore[arg-type]
    assert await registry.credentials(js, "lobby") == Credentials(secret="me:hunter2", origin="rtsp://10.0.0.7:554")


async def test_only_one_of_two_concurrent_adds_of_a_camera_succeeds(admin: Client) -> None:
    js = admin.jetstream()
    for id in (f"cam-{n}" for n in range(20)):
        tries = (registry.add(js, id, *new_camera(f"rtsp://10.0.0.{n}/x")) for n in range(5))
        done = await asyncio.gather(*tries, return_exceptions=True)
        assert sum(d is None for d in done) == 1 and sum(isinstance(d, CameraThere) for d in done) == 4, done


async def test_cameras_are_listed_while_others_remove_some(admin: Client) -> None:
    js = admin.jetstream()
    ids = [f"cam-{n}" for n in range(20)]
    for id in ids:
        await registry.add(js, id, new_camera(URL)[0], None)
    removing = asyncio.gather(*(registry.remove(js, id) for id in ids[1:]))
    seen = [await registry.all(js) for _ in range(5)]
    await removing
    assert all("cam-0" in cameras for cameras in seen) and set(await registry.all(js)) == {"cam-0"}


@pytest.mark.slow
async def test_an_invalid_entry_does_not_hide_the_other_cameras(people: People, admin: Client) -> None:
    await people.works("add", "lobby", URL)
    bucket = await admin.jetstream().key_value(names.CAMERAS)
    await bucket.put("broken", b"{}")
    await bucket.put("nested", b'{"url": "rtsp://10.0.0.7/a", "x": ' + b"[" * 5000)
    shown = await people.works("list")
    assert BARE in shown
    for id in ("broken", "nested"):
        row = next(line for line in shown.splitlines() if line.startswith(id))
        assert "unusable" in row and "not a camera" in shown
    listed = [json.loads(line) for line in (await people.works("list", "--json")).splitlines()]
    assert [(one["camera"], one["state"]) for one in listed] == [
        ("broken", "unusable"),
        ("lobby", "new"),
        ("nested", "unusable"),
    ]
    assert "not a camera" in listed[0]["reason"] and "url" not in listed[0]
    assert (listed[1]["reason"], listed[1]["video"], listed[1]["fps"]) == ("", None, None)
    await people.works("remove", "broken")
    await people.works("remove", "nested")
    assert "unusable" not in await people.works("list")


@pytest.mark.slow
async def test_an_unknown_label_is_warned_about(people: People) -> None:
    output = await people.works("add", "lobby", URL, "--classes", "persn,Car,lorry,forklift,dog")
    doubts = [line for line in output.splitlines() if "has no label" in line]
    assert doubts == [
        "camera lobby: the embedded detector has no label 'persn': did you mean 'person'?",
        "camera lobby: the embedded detector has no label 'Car': did you mean 'car'?",
        "camera lobby: the embedded detector has no label 'lorry': did you mean 'truck'?",
        "camera lobby: the embedded detector has no label 'forklift': right where a model of yours has it",
    ]
    assert (await people.camera()).classes == ["persn", "Car", "lorry", "forklift", "dog"], "taken all the same"
    assert "did you mean 'person'?" in await people.works("set", "lobby", "--classes", "persons")
    assert "has no label" not in await people.works("set", "lobby", "--classes", "person,traffic light")
    assert "has no label" not in await people.works("set", "lobby", "--classes", "plate", "--model", "plates")
    assert "no label 'plate'" in await people.works("set", "lobby", "--unset", "model"), "the default lacks it"


@pytest.mark.slow
async def test_show_prints_everything_but_the_password(people: People) -> None:
    await people.works("add", "lobby", URL, "--fps", "5", "--classes", "person,car")
    output = await people.works("show", "lobby")
    for words in (BARE, "fps", "5", "person, car", "kept", "not seen yet"):
        assert words in output, output
    shown = json.loads(await people.works("show", "lobby", "--json"))
    assert shown == {
        "camera": "lobby", "state": "new", "password": True, "url": BARE, "fps": 5.0, "classes": ["person", "car"]
    }  # fmt: skip
    assert "camera list" in await people.refused("show", "nobody")


@pytest.mark.slow
async def test_a_missing_file_is_refused_as_a_path(people: People, tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"video")
    assert "clip.mp4" in await people.works("add", "clip", "clip.mp4")
    assert (await people.camera("clip")).url == (tmp_path / "clip.mp4").as_uri()
    for path in (str(tmp_path / "nofile.mp4"), "nofile.mp4", "~nobody/x.mp4"):
        output = await people.refused("add", "door", path)
        assert f"there is no file {path} here" in output
        assert "rtsp://" in output and "scheme" not in output
    assert "is a folder" in await people.refused("add", "door", str(tmp_path))
    assert "is a folder" in await people.refused("set", "clip", "--url", ".")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("rtsp://", "no host"),
        ("rtsp:///stream1", "no host"),
        ("rtsp://:554/stream1", "no host"),
        ("rtsp://me:hunter2@/stream1", "no host"),
        ("rtsp://cam:99999/x", "port 99999"),
        ("rtsp://cam:0/x", "port 0"),
        ("rtsp://cam:five/x", "port five"),
        ("rtsp://[::1/x", "]"),
        ("rtsp://me:p[hunter2]w@cam/x", "%5B"),
        ("rtsp://me:hunter2\uff1a@cam/x", "%5B"),
        ("rtsp://cam/a b", "%20"),
        ("rtsp://cam/x\n", "%20"),
        ("file://clip.mp4", "file:///"),
        ("file://", "file:///"),
        ("http://cam/x", "'http'"),
        ("10.0.0.7/stream1", "rtsp://10.0.0.7/stream1"),
    ],
)
def test_an_invalid_url_is_refused_with_the_remedy(url: str, words: str) -> None:
    with pytest.raises(SettingError) as refused:
        new_camera(url)
    assert words in str(refused.value) and "give" in str(refused.value)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    ["rtsp://cam", "RTSP://cam:554/x", "rtsps://[::1]:322/x", "rtsp://cam/x?a=b#c", "rtsp://me:p%20w@cam/x",
     "file:///a%20b.mp4", "file://localhost/a.mp4"],
)  # fmt: skip
def test_a_valid_url_is_accepted(url: str) -> None:
    assert new_camera(url)[0].enabled


async def test_the_bucket_itself_never_holds_a_password(people: People, admin: Client) -> None:
    await people.works("add", "lobby", URL)
    await people.works("set", "lobby", "--url", "rtsp://you:hunter23@10.0.0.8/x")
    bucket = await admin.jetstream().key_value(names.CAMERAS)
    assert b"hunter2" not in ((await bucket.get("lobby")).value or b"")
