"""What is wrong with the processes on one machine, in a file that `tidegate up` writes and others read.

    write(path, [Problem(service="cv", replica="cv-0", since=now, sentence="CV_FPS='abc' can't be used", kind="died")])
    read(path)       # empty without the file

Sentences hold no credentials, and are one line of at most LONGEST characters.
"""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec

from shared.runtime.plain import plain

FILE = "problems.json"
# Characters of a sentence.
LONGEST = 400
# A reader takes no larger file.
MOST_BYTES = 1 << 20

Kind = Literal["died", "not ready"]


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """A process that can't work. since: the begin of the problem. sentence: its own last error, or why it waits.

    kind: `died` until a restarted process has lived for a while, or `not ready` while `/readyz` fails.
    """

    service: str
    replica: str
    since: dt.datetime
    sentence: str
    kind: Kind

    def describe(self) -> str:
        """Return it in a line, such as `cv-0 died: CV_FPS='abc' can't be used`."""
        verb = "died" if self.kind == "died" else "is not ready"
        return plain(f"{self.replica} {verb}: {self.sentence}")


def read(path: Path) -> list[Problem]:
    """Return the problems in a file; none if there is no readable one."""
    try:
        with path.open("rb") as file:
            return msgspec.json.decode(file.read(MOST_BYTES), type=list[Problem])
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return []


def write(path: Path, problems: Sequence[Problem]) -> None:
    """Write the file, which only its owner can read. Readers never see a half of it. Raises OSError."""
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(msgspec.json.encode(problems))
    new.replace(path)
