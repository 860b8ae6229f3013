"""Backup and restore of servers elsewhere, by NATS_URL and admin."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from nats.aio.client import Client

from shared import bus
from shared.client import registry
from shared.contract import names
from shared.contract.cameras import Camera
from tests.support.processes.command_line import tidegate, tidegate_on
from tests.support.worlds.backups import key_file, running
from tidegate.local.cluster import NatsCluster
from tidegate.local.server import NatsServer


async def add_lobby(client: Client) -> None:
    await registry.put(client.jetstream(), "lobby", Camera(url="rtsp://10.0.0.7/stream"), "op:x")
    await client.jetstream().publish(names.audit("camera.add"), b"{}")


@pytest.mark.slow
async def test_a_backup_goes_from_one_machine_to_a_server_elsewhere_and_back(
    tmp_path: Path, server: NatsServer, admin: Client
) -> None:
    key, file, back = str(key_file(tmp_path / "key")), str(tmp_path / "a.tgb"), str(tmp_path / "b.tgb")
    async with running(tmp_path / "old") as client:
        await add_lobby(client)
        await asyncio.to_thread(tidegate, tmp_path / "old", "backup", file, "--key", key)
    process = await tidegate_on(server, "restore", file, "--key", key, cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    assert "files of the data directory are not restored" in process.stdout
    restored = await registry.credentials(admin.jetstream(), "lobby")
    assert restored is not None
    assert restored.secret == "op:x"
    process = await tidegate_on(server, "backup", back, "--key", key, cwd=tmp_path)
    assert "not in it" in process.stdout
    await asyncio.to_thread(tidegate, tmp_path / "new", "restore", back, "--key", key)
    async with running(tmp_path / "new") as client:
        assert (await registry.read(client.jetstream(), "lobby")).url == "rtsp://10.0.0.7/stream"
        assert (await client.jetstream().stream_info(names.AUDIT)).state.messages == 1


@pytest.mark.slow
async def test_a_cluster_is_backed_up_and_restored(tmp_path: Path, cluster: NatsCluster) -> None:
    key, file = str(key_file(tmp_path / "key")), str(tmp_path / "a.tgb")
    chosen = cluster.settings("admin")
    variables = {"NATS_URL": chosen.nats_url, "NATS_USER": chosen.nats_user, "NATS_PASSWORD": chosen.nats_password}

    async def command(*arguments: str) -> str:
        process = await asyncio.to_thread(tidegate, tmp_path / "none", *arguments, settings=variables)
        return process.stdout

    client = await bus.connect(chosen, "admin")
    try:
        await add_lobby(client)
        await client.jetstream().publish("events.alerts.lobby", b"{}")
        assert "cameras 1" in await command("backup", file, "--key", key, "--streams")
        await registry.remove(client.jetstream(), "lobby")
        await command("restore", file, "--key", key)
        camera = await registry.credentials(client.jetstream(), "lobby")
        assert camera is not None
        assert (await client.jetstream().stream_info(names.EVENTS)).state.messages == 1
    finally:
        await client.close()
