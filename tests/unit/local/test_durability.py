"""STORE_SYNC_S: what the embedded server has synced to disk before it acknowledges."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from shared.runtime.errors import SettingError
from shared.runtime.ports import free_port
from tidegate.local.server import Member, NatsServer


async def configured(folder: Path) -> dict[str, Any]:
    """Return the JetStream configuration of a server that was started with the environment's settings."""
    port = free_port(0)
    (folder / "secrets").mkdir()
    async with NatsServer(folder, member=Member(0, folder / "secrets", f"http: 127.0.0.1:{port}\n")):

        def ask() -> dict[str, Any]:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/jsz?config=true", timeout=10) as answer:
                return dict(json.load(answer)["config"])

        return await asyncio.to_thread(ask)


@pytest.mark.parametrize(
    ("seconds", "always", "interval_s"), [("", False, 120), ("2.5", False, 2.5), ("0", True, None)]
)
async def test_how_often_the_disk_is_synced_is_a_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: str, always: bool, interval_s: float | None
) -> None:
    monkeypatch.setenv("STORE_SYNC_S", seconds)
    config = await configured(tmp_path)
    assert bool(config.get("sync_always")) == always
    if interval_s:
        assert config["sync_interval"] == interval_s * 1e9


async def test_an_invalid_time_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORE_SYNC_S", "always")
    with pytest.raises(SettingError, match="STORE_SYNC_S"):
        await NatsServer(tmp_path).start()
