"""The ways of a camera's password into `tidegate camera`: never by its arguments, which all users can see."""

from __future__ import annotations

import asyncio
import os
import pty
import subprocess
from pathlib import Path

import pytest
from nats.aio.client import Client

from shared.client import registry
from shared.contract.credentials import Credentials
from shared.runtime.redact import join_credentials
from tests.support.processes.command_line import COMMAND
from tests.support.waiting import patience_s, until
from tidegate.local.server import NatsServer

# A URL would end at half of these, and one that is decoded twice becomes another.
PASSWORD = "p%41/ss:w@rd?#"
QUOTED = "p%2541%2Fss%3Aw%40rd%3F%23"
ADDRESS = "rtsp://10.0.0.7:554"


class Shell:
    """Runs `tidegate camera` with something on its standard input."""

    def __init__(self, server: NatsServer, admin: Client, folder: Path) -> None:
        self.js = admin.jetstream()
        self.folder = folder
        self.environment = os.environ | server.environment("admin") | {"COLUMNS": "200"}

    async def run(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return await asyncio.to_thread(
            subprocess.run,
            [*COMMAND, "camera", *arguments],
            env=self.environment,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=patience_s(),
            cwd=self.folder,
        )

    async def works(self, *arguments: str, stdin: str = "") -> str:
        done = await self.run(*arguments, stdin=stdin)
        assert done.returncode == 0, done.stderr
        assert PASSWORD not in done.stdout + done.stderr
        return done.stderr

    async def refused(self, *arguments: str, stdin: str = "") -> str:
        done = await self.run(*arguments, stdin=stdin)
        assert done.returncode == 1, (done.stdout, done.stderr)
        assert PASSWORD not in done.stderr and "Traceback" not in done.stderr
        return done.stderr

    async def typed(self, *arguments: str, answer: str) -> str:
        """Return what a terminal shows where a person types `answer` at the prompt."""
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            [*COMMAND, "camera", *arguments],
            env=self.environment,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        shown = bytearray()

        def read() -> None:
            try:
                while data := os.read(ours, 4096):
                    shown.extend(data)
            except OSError:  # The process has ended.
                pass

        reading = asyncio.create_task(asyncio.to_thread(read))
        await until(lambda: b"Password of" in shown or process.poll() is not None)
        os.write(ours, f"{answer}\n".encode())
        assert await asyncio.to_thread(process.wait, patience_s()) == 0, shown
        await reading
        os.close(ours)
        return shown.decode()

    async def credentials(self) -> Credentials | None:
        return await registry.credentials(self.js, "lobby")


@pytest.fixture
def shell(server: NatsServer, admin: Client, tmp_path: Path) -> Shell:
    return Shell(server, admin, tmp_path)


async def test_a_password_comes_by_standard_input_or_a_file(shell: Shell) -> None:
    right = Credentials(secret=f"me:{QUOTED}", origin=ADDRESS)
    assert not await shell.works("add", "lobby", "rtsp://me@10.0.0.7/x", "--password-stdin", stdin=f"{PASSWORD}\n")
    assert await shell.credentials() == right
    assert join_credentials("rtsp://10.0.0.7/x", right.secret) == f"rtsp://me:{QUOTED}@10.0.0.7/x"
    (shell.folder / "password").write_text("other")
    await shell.works("set", "lobby", "--password-file", "password")
    assert await shell.credentials() == Credentials(secret="me:other", origin=ADDRESS)
    await shell.works("set", "lobby", "--user", "y@u", "--password-stdin", stdin=PASSWORD)
    assert await shell.credentials() == Credentials(secret=f"y%40u:{QUOTED}", origin=ADDRESS)
    await shell.works("set", "lobby", "--url", "rtsps://cam/x", "--password-stdin", stdin=PASSWORD)
    assert await shell.credentials() == Credentials(secret=f"y%40u:{QUOTED}", origin="rtsps://cam:322"), (
        "the user stays"
    )


async def test_a_url_with_a_password_comes_by_standard_input(shell: Shell) -> None:
    assert not await shell.works("add", "lobby", "-", stdin=f"rtsp://me:{QUOTED}@10.0.0.7/x\n")
    assert await shell.credentials() == Credentials(secret=f"me:{QUOTED}", origin=ADDRESS)
    query = "rtsp://10.0.0.7/x?user=me&password=hunter2"
    assert not await shell.works("set", "lobby", "--url", "-", stdin=query)
    assert await shell.credentials() == Credentials(secret=query, origin=ADDRESS)
    assert "by '-' on standard input" in await shell.refused(
        "set", "lobby", "--url", "rtsp://10.0.0.7/y", "--password-stdin", stdin="x"
    )


async def test_a_password_in_the_command_line_works_with_a_warning(shell: Shell) -> None:
    for arguments in (
        ("add", "lobby", "rtsp://me:hunter2@10.0.0.7/x"),
        ("set", "lobby", "--url", "rtsp://me:h2@cam/x"),
    ):
        output = await shell.works(*arguments)
        assert output.startswith("warning: a password is in this command line") and "--password-stdin" in output
        assert "hunter2" not in output
    assert await shell.works("add", "hall", "rtsp://me@10.0.0.7/x") == "", "no terminal, nobody is asked"


@pytest.mark.slow
async def test_an_invalid_password_is_refused_with_the_remedy(shell: Shell) -> None:
    add = ("add", "lobby", "rtsp://me@10.0.0.7/x")
    (shell.folder / "password").write_text("one\ntwo\n")
    for arguments, stdin, words in (
        ((*add, "--password-stdin"), "", "standard input has no password"),
        ((*add, "--password-file", "password"), "", "password has no password, or more than one line"),
        ((*add, "--password-file", "password", "--password-stdin"), "x", "exclude each other"),
        (("add", "lobby", "rtsp://10.0.0.7/x", "--password-stdin"), "x", "give --user too"),
        (("add", "lobby", "rtsp://10.0.0.7/x", "--user", "me"), "", "--user has no password"),
        (("add", "lobby", "rtsp://a:b@10.0.0.7/x", "--password-stdin"), "x", "another is given"),
        (("add", "lobby", "-", "--password-stdin"), "x", "give --password-file"),
        ((*add, "--password-stdin"), "x" * 200, "too long: 127 characters"),
    ):
        assert words in await shell.refused(*arguments, stdin=stdin), arguments
    assert await shell.credentials() is None
    assert "there is no camera" in await shell.refused("set", "lobby", "--password-stdin", stdin="x")


async def test_the_password_prompt_of_a_terminal_does_not_echo(shell: Shell) -> None:
    shown = await shell.typed("add", "lobby", "rtsp://me@10.0.0.7/x", answer=PASSWORD)
    assert "Password of me" in shown and PASSWORD not in shown
    assert await shell.credentials() == Credentials(secret=f"me:{QUOTED}", origin=ADDRESS)
    shown = await shell.typed("set", "lobby", "--user", "you", answer="other")
    assert "Password of you" in shown and "other" not in shown and "password changed" in shown
    assert await shell.credentials() == Credentials(secret="you:other", origin=ADDRESS)


async def test_a_concurrently_changed_entry_gets_no_new_password(shell: Shell) -> None:
    """The admin sets a password without reading the entry: it must not go to an address that another person has set."""
    await shell.works("add", "lobby", "rtsp://me@10.0.0.7/x", "--password-stdin", stdin="old")
    bucket = await shell.js.key_value("cameras")
    await bucket.put("lobby", b'{"url":"rtsp://thief/x"}')
    output = await shell.refused("set", "lobby", "--password-stdin", stdin="new")
    assert f"was for {ADDRESS}, and its address is rtsp://thief:554: give --url too" in output
    assert "its password is not sent" in await shell.works("set", "lobby", "--fps", "2")
    assert await shell.credentials() == Credentials(secret="me:old", origin=ADDRESS)
    await shell.works("set", "lobby", "--url", "rtsp://10.0.0.7/x", "--password-stdin", stdin="new")
    assert await shell.credentials() == Credentials(secret="me:new", origin=ADDRESS)
