"""`tidegate apply`, `diff` and `export`, run as people run them."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from nats.aio.client import Client

from shared.client import registry
from shared.contract import names
from shared.contract.endpoint import EndpointSettings
from shared.contract.reading.entries import entries
from shared.site import journal, state
from tests.support.processes.command_line import COMMAND, tidegate, tidegate_on
from tests.support.waiting import until
from tidegate.local.server import NatsServer
from tidegate.local.stack import Stack

SITE = """
cameras:
  lobby:
    url: rtsp://127.0.0.1:9/stream1
    user: me
    password: ${LOBBY_PASSWORD}
    rules_file: lobby.rules
    fps: 5
groups: {doors: {cameras: [lobby], recording: {keep_days: 3}}}
"""
RULES = "{zones: {door: {polygon: [[0, 0], [1, 0], [1, 1]]}}, rules: [{kind: enter, id: in, zone: door}]}"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "site.yaml").write_text(SITE)
    (tmp_path / "lobby.rules").write_text(RULES)
    monkeypatch.setenv("LOBBY_PASSWORD", "hunter2")
    return tmp_path


async def run(server: NatsServer, folder: Path, *arguments: str, code: int = 0) -> str:
    done = await tidegate_on(server, *arguments, cwd=folder)
    assert done.returncode == code, (done.stdout, done.stderr)
    assert "hunter2" not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


@pytest.mark.slow
async def test_a_site_is_applied_exported_and_pruned(
    server: NatsServer, admin: Client, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    js = admin.jetstream()
    shown = await run(server, folder, "diff", "-f", "site.yaml", "--exit-code", code=2)
    assert "+ camera lobby: url rtsp://127.0.0.1:9/stream1, fps 5, password" in shown
    assert await registry.all(js) == {}
    assert "3 added, 0 changed, 0 removed" in await run(server, folder, "apply", "-f", "site.yaml")
    assert (await registry.read(js, "lobby")).fps == 5
    assert (await registry.credentials(js, "lobby")).secret == "me:hunter2"  # type: ignore[union-attr]
    assert "nothing to change" in await run(server, folder, "apply", "-f", "site.yaml")
    await run(server, folder, "export", "--save", "copy.yaml")
    assert (folder / "copy.yaml").stat().st_mode & 0o777 == 0o600
    refusal = await run(server, folder, "export", "--save", "copy.yaml", code=1)
    assert "--force" in refusal
    monkeypatch.delenv("LOBBY_PASSWORD")
    again = await run(server, folder, "apply", "-f", "copy.yaml", "--prune")
    assert "SITE_LOBBY_PASSWORD is not set: the stored password stays" in again and "nothing to change" in again
    await run(server, folder, "camera", "add", "yard", "rtsp://127.0.0.1:9/yard")
    assert "camera yard is not in the file, and stays: --prune" in await run(server, folder, "diff", "-f", "site.yaml")
    refusal = await run(server, folder, "apply", "-f", "site.yaml", "--prune", code=1)
    assert "- camera yard" in refusal and "give --yes" in refusal and "yard" in await registry.all(js)
    await run(server, folder, "apply", "-f", "site.yaml", "--prune", "--yes")
    assert list(await registry.all(js)) == ["lobby"]


@pytest.mark.slow
async def test_mistakes_change_nothing(server: NatsServer, admin: Client, folder: Path) -> None:
    (folder / "gate.yaml").write_text("cameras: {gate: {url: 'rtsp://127.0.0.1:9/gate'}, lobby: {url: 'rtsp://h'}}")
    assert "cameras.lobby: it is in" in await run(server, folder, "apply", "-f", "site.yaml", "-f", "gate.yaml", code=1)
    (folder / "gate.yaml").write_text("cameras: {gate: {url: 'rtsp://127.0.0.1:9/gate', password: hunter2}}")
    refusal = await run(server, folder, "apply", "-f", "gate.yaml", code=1)
    assert "cameras.gate.password: give a variable" in refusal
    (folder / "lobby.rules").write_text("{rules: [{kind: enter, id: in, zone: door}]}")
    refusal = await run(server, folder, "apply", "-f", "site.yaml", code=1)
    assert "cameras.lobby.rules.rules[0].zone: there is no zone 'door'" in refusal
    (folder / "lobby.rules").unlink()
    assert "lobby.rules can't be read" in await run(server, folder, "apply", "-f", "site.yaml", code=1)
    (folder / "empty").mkdir()
    assert "no file that ends with" in await run(server, folder, "apply", "-f", "empty", code=1)
    (folder / "gate.yaml").write_text("readers: {desk: {}}")
    assert "give --accounts" in await run(server, folder, "apply", "-f", "gate.yaml", code=1)
    assert await registry.all(admin.jetstream()) == {}
    assert await entries(admin.jetstream(), names.SITE) == {}


@pytest.mark.slow
async def test_only_an_administrator_applies(server: NatsServer, folder: Path) -> None:
    for identity in ("viewer", "console-operator", "ingest", "cv"):
        environment = os.environ | server.environment(identity)
        done = await asyncio.to_thread(
            subprocess.run, [*COMMAND, "apply", "-f", "site.yaml"], env=environment, cwd=folder, capture_output=True,
            text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
        assert identity in done.stderr and "hunter2" not in done.stderr


@pytest.mark.slow
async def test_a_killed_apply_is_completed_by_the_next(server: NatsServer, admin: Client, folder: Path) -> None:
    js = admin.jetstream()
    cameras = "\n".join(
        f"  c{n}: {{url: 'rtsp://127.0.0.1:9/{n}', user: me, password: '${{LOBBY_PASSWORD}}'}}" for n in range(300)
    )
    (folder / "site.yaml").write_text(f"cameras:\n{cameras}\n")
    killed = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tidegate", "apply", "-f", "site.yaml",
        env=os.environ | server.environment("admin"), cwd=folder,
    )  # fmt: skip
    committed = asyncio.Event()

    async def see() -> None:
        watcher = await (await js.key_value(names.SITE)).watch(journal.LOCK)
        async for entry in watcher:
            if entry and entry.value and b"committed" in entry.value:
                killed.send_signal(signal.SIGKILL)
                committed.set()
                break
        await watcher.stop()  # type: ignore[no-untyped-call]

    seeing = asyncio.create_task(see())
    await until(committed.is_set)
    await seeing
    await killed.wait()
    before = len(await registry.all(js))
    assert before < 300, "it was killed too late"
    shown = await run(server, folder, "diff", "-f", "site.yaml")
    assert "or was interrupted: 'tidegate apply' completes it" in shown
    assert "are complete" in await run(server, folder, "apply", "-f", "site.yaml")
    assert len(await registry.all(js)) == 300
    assert "nothing to change" in await run(server, folder, "apply", "-f", "site.yaml")


@pytest.mark.slow
async def test_readers_come_and_go_by_a_site_file(folder: Path) -> None:
    data = folder / "data"
    async with Stack(data, {}, port=0):
        (folder / "site.yaml").write_text("readers: {desk: {kinds: [alerts]}}")
        applied = await asyncio.to_thread(tidegate, data, "apply", "-f", str(folder / "site.yaml"))
        assert "+ reader desk: reads events.alerts.>" in applied.stdout
        assert (data / "secrets/reader-desk").stat().st_mode & 0o777 == 0o600
        exported = await asyncio.to_thread(tidegate, data, "export")
        assert "desk" in exported.stdout and "kinds: [alerts]" in exported.stdout
        (folder / "site.yaml").write_text("readers: {}")
        pruned = await asyncio.to_thread(tidegate, data, "apply", "-f", str(folder / "site.yaml"), "--prune", "--yes")
        assert "- reader desk" in pruned.stdout
        assert not (data / "secrets/reader-desk").exists()


@pytest.mark.slow
async def test_a_webhook_is_applied_moved_and_removed(
    server: NatsServer, admin: Client, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    js = admin.jetstream()
    site = folder / "hook.yaml"
    section = "webhook: {url: 'https://hooks.example.org/a/${HOOK_TOKEN}', secret_file: key, format: slack}"
    site.write_text(section)
    (folder / "key").write_text("hunter2-secret\n")
    refusal = await run(server, folder, "apply", "-f", "hook.yaml", code=1)
    assert "webhook.url: the variable HOOK_TOKEN is not set" in refusal
    monkeypatch.setenv("HOOK_TOKEN", "hunter2-token")
    shown = await run(server, folder, "apply", "-f", "hook.yaml")
    assert "+ webhook: url https://hooks.example.org, events alerts, format slack, secret\n" in shown
    stored = (await state.read(js)).endpoint
    assert stored == EndpointSettings(
        url="https://hooks.example.org/a/hunter2-token", secret="hunter2-secret", format="slack"
    )
    assert await entries(js, names.SITE) == {}
    assert "nothing to change" in await run(server, folder, "apply", "-f", "hook.yaml")
    exported = await run(server, folder, "export")
    assert "https://hooks.example.org/${SITE_WEBHOOK_PATH}" in exported and "${SITE_WEBHOOK_SECRET}" in exported
    monkeypatch.delenv("HOOK_TOKEN")
    again = await run(server, folder, "apply", "-f", "hook.yaml")
    assert "webhook: HOOK_TOKEN is not set: the stored URL stays" in again and "nothing to change" in again
    site.write_text("webhook: {url: 'https://evil.example.net/'}")
    refusal = await run(server, folder, "apply", "-f", "hook.yaml", code=1)
    assert "webhook: the stored secret is for another address: give 'secret' too" in refusal
    site.write_text("cameras: {}")
    shown = await run(server, folder, "apply", "-f", "hook.yaml", "--prune", "--yes")
    assert "webhook is not in the file, and stays: --prune removes it" in shown
    assert (await state.read(js)).endpoint == stored
    site.write_text("webhook:")
    removed = await run(server, folder, "apply", "-f", "hook.yaml", "--prune", "--yes")
    assert "- webhook: url https://hooks.example.org\n" in removed
    assert (await state.read(js)).endpoint is None
