"""Which versions go on with a data directory: it says so itself, and keeps those away that can't read what it says.

layout.check(data)     # before anything is changed
layout.claim(data)     # before the first thing that an older version can't go on with
"""

from __future__ import annotations

from pathlib import Path

from shared.runtime.errors import SettingError
from tidegate.local.encryption import write_private

# One more wherever an older version can't go on with what this one leaves.
FORMAT = 1
MARK = "format"
# 0.2.0 and older begin with a file of this name, made anew, and so they end at a folder. Without it their server starts
# without the key, and deletes MEDIA as it is created over the one that is there (nats-server 2.15.1).
BAR = "nats.conf"
REASON = """This folder keeps Tidegate 0.2.0 and older from starting here: they can't read what a newer version
has stored, and would delete video. To go back to them see docs/how-to/upgrade.md.
"""


def check(data: Path) -> None:
    """Raises SettingError where a newer version has the directory, or its mark can't be read."""
    mark = data / MARK
    try:
        said = mark.read_text().strip() if mark.exists() else str(FORMAT)
        newer = int(said) > FORMAT
    except (OSError, ValueError) as e:
        raise SettingError(
            f"{mark} can't be read ({e}), so nothing tells which version can go on with {data}: put it back from a "
            "backup, or delete it where you are sure that no newer version was here. Nothing was changed"
        ) from e
    if newer:
        raise SettingError(
            f"{data} is of a newer Tidegate, whose format is {said} where this version knows {FORMAT}: run the newer "
            "one, or choose another directory with --data. Nothing was changed"
        )


def claim(data: Path) -> None:
    """Have older versions leave the directory alone from now on. Raises OSError.

    What is there already is not written again: the server must start on a full disk, as that is how it gets room.
    """
    bar, mark = data / BAR, data / MARK
    if bar.is_file():
        bar.unlink()
    bar.mkdir(parents=True, exist_ok=True, mode=0o700)
    reason = bar / "README"
    if not reason.exists():
        reason.write_text(REASON)
    if not mark.exists() or mark.read_text().strip() != str(FORMAT):
        write_private(mark, f"{FORMAT}\n")
