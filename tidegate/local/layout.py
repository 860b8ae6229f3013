"""The format version of a data directory, which also blocks versions that can't read it.

Example:
    layout.check(data)     # before any change
    layout.claim(data)     # before the first incompatible change
"""

from __future__ import annotations

from pathlib import Path

from shared.runtime.errors import SettingError
from shared.runtime.private_file import write_private

# Increment it with each change that an older version can't continue from.
FORMAT = 1
MARK = "format"
# 0.2.0 and older first recreate a file of this name, and so they fail at a folder. Without it their server starts
# without the key, and deletes MEDIA by creating it over the existing one (nats-server 2.15.1).
BAR = "nats.conf"
REASON = """This folder keeps Tidegate 0.2.0 and older from starting here: they can't read what a newer version
has stored, and would delete video. To go back to them see docs/how-to/upgrade.md.
"""


def check(data: Path) -> None:
    """Raise SettingError if a newer version owns the directory, or its mark can't be read."""
    mark = data / MARK
    try:
        number = mark.read_text().strip() if mark.exists() else str(FORMAT)
        newer = int(number) > FORMAT
    except (OSError, ValueError) as e:
        raise SettingError(
            f"{mark} can't be read ({e}), so nothing tells which version can go on with {data}: put it back from a "
            "backup, or delete it where you are sure that no newer version was here. Nothing was changed"
        ) from e
    if newer:
        raise SettingError(
            f"{data} is of a newer Tidegate, whose format is {number} where this version knows {FORMAT}: run the newer "
            "one, or choose another directory with --data. Nothing was changed"
        )


def claim(data: Path) -> None:
    """Block older versions from the directory from now on. Raises OSError.

    Existing files are not rewritten: the server must start on a full disk, as a start makes room.
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
