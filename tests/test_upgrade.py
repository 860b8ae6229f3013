"""A data directory goes on with the next version, and neither an older nor a newer one spoils it."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.runtime.errors import SettingError
from tests.files import contents
from tidegate.local.server import NatsServer


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


async def test_0_2_0_does_not_start_on_what_this_version_stores(data: Path) -> None:
    """It begins with a fresh `nats.conf`, and its server would delete MEDIA, which it has no key of."""
    data.mkdir()
    (data / "nats.conf").write_text("password: p")
    for _ in range(2):
        async with NatsServer(data):
            pass
        with pytest.raises(IsADirectoryError):
            (data / "nats.conf").unlink(missing_ok=True)
    assert "docs/how-to/upgrade.md" in (data / "nats.conf" / "README").read_text()


async def test_a_newer_version_s_data_is_left_alone(data: Path) -> None:
    async with NatsServer(data):
        pass
    mark = data / "format"
    ours = mark.read_text()
    mark.write_text(f"{int(ours) + 1}\n")
    before = dict(contents(data))
    with pytest.raises(SettingError, match=rf"{data} is of a newer Tidegate.* Nothing was changed"):
        await NatsServer(data).start()
    assert dict(contents(data)) == before
    mark.write_text("")
    with pytest.raises(SettingError, match=rf"{mark} can't be read .* put it back"):
        await NatsServer(data).start()
    mark.write_text(ours)
    async with NatsServer(data):
        pass
