"""What a process reports to systemd."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from shared.runtime import systemd


@pytest.mark.parametrize("abstract", [False, True])
def test_the_manager_receives_the_state(abstract: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + name if abstract else name)
        manager.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}" if abstract else name)
        systemd.notify("READY=1")
        assert manager.recv(100) == b"READY=1"


def test_an_absent_manager_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    systemd.notify("READY=1")
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "none"))
    systemd.notify("READY=1")
