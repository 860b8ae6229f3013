"""Commands against a server: missing things are reported, saved files are whole, and an event's video is found."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from nats.aio.client import Client

from shared.client import registry
from shared.contract import deadletters
from shared.contract.cameras import Camera
from shared.runtime.errors import SettingError
from tests.support.processes.command_line import COMMAND
from tests.support.waiting import patience_s
from tests.support.worlds.jobs_world import film
from tidegate.client.files import written
from tidegate.drawing.track_video import _Writer
from tidegate.local.server import NatsServer


async def tidegate(server: NatsServer, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | server.environment("admin")
    return await asyncio.to_thread(
        subprocess.run, [*COMMAND, *arguments], env=environment, capture_output=True, text=True, timeout=120, cwd=cwd
    )


async def have(client: Client, *ids: str) -> None:
    for id in ids:
        await registry.put(client.jetstream(), id, Camera(url="rtsp://127.0.0.1:9/x"), None)


# ---- dead letters


async def dead_letter(client: Client, seq: int, payload: bytes = b"x") -> int:
    headers = deadletters.dead_letter_headers(
        "cv", "no such model", stream="MEDIA", seq=seq, subject="media.lobby", deliveries=5, headers={}
    )
    return (await client.jetstream().publish("dlq.cv", payload, headers=headers)).seq


@pytest.mark.slow
async def test_an_unknown_dead_letter_is_an_error_and_the_others_are_replayed(
    server: NatsServer, admin: Client, tmp_path: Path
) -> None:
    missing = await tidegate(server, "dlq", "replay", "17", cwd=tmp_path)
    assert (missing.returncode, missing.stdout) == (1, "")
    assert missing.stderr == "tidegate: there is no letter 17: 'tidegate dlq list' shows what is there\n"
    letter = await dead_letter(admin, 3)
    listed = await tidegate(server, "dlq", "list", cwd=tmp_path)
    assert listed.stdout.split("\t") == [str(letter), "cv", "MEDIA/3", "media.lobby", "1", "5", "no such model\n"]
    some = await tidegate(server, "dlq", "replay", str(letter), "17", cwd=tmp_path)
    assert some.returncode == 1 and "there is no letter 17" in some.stderr
    assert some.stdout.startswith(f"letter {letter}: sequence ")
    none = await tidegate(server, "dlq", "replay", "--all", cwd=tmp_path)
    assert (none.returncode, none.stdout, none.stderr) == (0, "", "no dead letters\n")


# ---- cameras that are not there


async def test_tracks_of_an_unknown_camera_name_the_nearest_camera(
    server: NatsServer, admin: Client, tmp_path: Path
) -> None:
    await have(admin, "lobby", "yard")
    done = await tidegate(server, "tracks", "loby", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "tidegate: there is no camera 'loby': did you mean 'lobby'?\n"
    quiet = await tidegate(server, "tracks", "lobby", cwd=tmp_path)
    assert (quiet.returncode, quiet.stderr) == (0, "nothing was followed on lobby in that time\n")
    far = await tidegate(server, "tracks", "warehouse", cwd=tmp_path)
    assert far.stderr == "tidegate: there is no camera 'warehouse': 'tidegate camera list' shows all\n"


async def test_watching_an_unknown_camera_warns_and_waits(server: NatsServer, admin: Client, tmp_path: Path) -> None:
    await have(admin, "lobby")
    with (tmp_path / "err").open("wb") as err:
        watching = await asyncio.create_subprocess_exec(
            *COMMAND, "watch", "counts.loby", "--json", env=os.environ | server.environment("admin"),
            stdout=asyncio.subprocess.PIPE, stderr=err,
        )  # fmt: skip
    try:
        assert watching.stdout
        async with asyncio.timeout(patience_s()):
            reading = asyncio.create_task(watching.stdout.readline())
            while not reading.done():
                await admin.publish("events.counts.loby", b"{}")
                await asyncio.sleep(0.2)
        assert await reading == b"{}\n"
    finally:
        watching.send_signal(signal.SIGINT)
        assert await watching.wait() == 0
    output = (tmp_path / "err").read_text()
    assert output == "there is no camera 'loby': did you mean 'lobby'?\nwaiting for its events all the same\n"


# ---- the video of an event


async def test_a_segment_is_saved_as_video(server: NatsServer, admin: Client, tmp_path: Path) -> None:
    _, seq, _ = await film(admin, 3)
    done = await tidegate(server, "segment", f"MEDIA/{seq}", "--save", "seen.mp4", cwd=tmp_path)
    assert done.returncode == 0 and done.stdout.startswith("seen.mp4: lobby, "), done.stderr
    with av.open(str(tmp_path / "seen.mp4")) as video:
        assert sum(1 for _ in video.decode(video=0)) > 0
    await tidegate(server, "segment", str(seq), cwd=tmp_path)
    assert {p.name for p in tmp_path.glob("*.mp4")} == {"seen.mp4", f"lobby-{seq}.mp4"}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("MEDIA/999999", "MEDIA/999999 is not kept: MEDIA has 1 to 1 now"),
        ("EVENTS/3", "give a stream and a sequence, as in MEDIA/1234"),
        ("MEDIA/0", "give a stream and a sequence"),
        ("-1", "No such option"),
        ("", "give a stream and a sequence"),
    ],
)
async def test_an_unavailable_segment_is_reported(
    server: NatsServer, admin: Client, tmp_path: Path, given: str, words: str
) -> None:
    await film(admin, 1)
    done = await tidegate(server, "segment", given, cwd=tmp_path)
    assert done.returncode in (1, 2) and words in done.stderr, done.stderr
    assert not list(tmp_path.glob("*.mp4"))


async def test_a_stored_message_that_is_no_segment_is_reported(
    server: NatsServer, admin: Client, tmp_path: Path
) -> None:
    ack = await admin.jetstream().publish("media.lobby", b"nonsense", headers={"Camera": "?"})
    done = await tidegate(server, "segment", f"MEDIA/{ack.seq}", cwd=tmp_path)
    assert done.returncode == 1 and done.stderr.startswith("tidegate: ") and "Traceback" not in done.stderr


# ---- files


async def test_an_interrupted_video_leaves_no_file(server: NatsServer, admin: Client, tmp_path: Path) -> None:
    """It prints its progress meanwhile, also into a pipe."""
    await film(admin, 60)
    with (tmp_path / "err").open("wb") as err:
        process = subprocess.Popen(
            [*COMMAND, "tracks", "lobby", "--since", "90s", "--save", "lobby.mp4"],
            env=os.environ | server.environment("admin"), cwd=tmp_path, stdout=subprocess.PIPE, stderr=err,
        )  # fmt: skip
    try:
        async with asyncio.timeout(patience_s()):
            while (
                not any(tmp_path.glob(".lobby.*/lobby.mp4"))
                or "drawing lobby.mp4: " not in (tmp_path / "err").read_text()
            ):
                assert process.poll() is None, (tmp_path / "err").read_text()
                await asyncio.sleep(0.02)
        process.send_signal(signal.SIGINT)
        assert await asyncio.to_thread(process.wait, 60) == 130
    finally:
        process.kill()
    assert [p.name for p in tmp_path.iterdir() if "lobby" in p.name] == []
    assert "Traceback" not in (tmp_path / "err").read_text()


def test_a_file_is_complete_or_absent(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"before")

    def write(end: Callable[[], None]) -> None:
        with written(path) as part:
            part.write_bytes(b"after")
            assert part.suffix == ".png" and path.read_bytes() == b"before"
            end()

    def fail() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(fail)
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"] and path.read_bytes() == b"before"
    write(lambda: None)
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"] and path.read_bytes() == b"after"


def test_a_link_in_a_shared_folder_is_not_followed(tmp_path: Path) -> None:
    """An attacker who knows the temporary name could have put a link there."""
    victim = tmp_path / "victim"
    victim.write_bytes(b"before")
    with written(tmp_path / "a.png") as part:
        part.touch()
        used = part.name
    for name in {used, ".a.part.png", f"{used}.new"}:
        (tmp_path / name).unlink(missing_ok=True)
        (tmp_path / name).symlink_to(victim)
    with written(tmp_path / "a.png") as part:
        part.write_bytes(b"after")
        assert part.parent.stat().st_mode & 0o077 == 0
    assert victim.read_bytes() == b"before"
    assert (tmp_path / "a.png").read_bytes() == b"after" and not (tmp_path / "a.png").is_symlink()


def test_a_device_is_written_directly(tmp_path: Path) -> None:
    with written(Path(os.devnull)) as part:
        assert part == Path(os.devnull)
    with (
        pytest.raises(SettingError, match=r"--mot .*nowhere.*no folder"),
        written(tmp_path / "nowhere" / "a", "--mot") as p,
    ):
        p.write_text("")
    with pytest.raises(SettingError, match="--save /dev/full can't be written"), written(Path("/dev/full")) as p:
        p.write_text("x" * 100_000)


def test_a_frame_after_the_end_is_skipped(tmp_path: Path) -> None:
    """Its thread was painting when the command was interrupted; PyAV ends the process on what is closed."""
    writer = _Writer(tmp_path / "x.mp4")
    frame = np.zeros((48, 64, 3), np.uint8)
    begin = dt.datetime(2026, 11, 24, tzinfo=dt.UTC)
    writer.add(begin, frame)
    writer.close()
    writer.add(begin + dt.timedelta(seconds=1), frame)
    assert writer.frames == 1
