"""Print the slow tests that the gate runs, one for each risk: those in the table of docs/contributing/gate.md."""

from __future__ import annotations

import re
import sys
from pathlib import Path

PAGE = Path("docs/contributing/gate.md")
HEADING = "## A test for each risk"


def tests(page: str) -> list[str]:
    """Return the names for pytest of the tests in the page's table. Raises ValueError if there are none."""
    _, found, section = page.partition(f"\n{HEADING}\n")
    rows = re.findall(r"^\|[^|`]+\| `(test_\w+\.py::[^`]+)` \|$", section.partition("\n## ")[0], re.MULTILINE)
    if not found or not rows:
        raise ValueError(f"{PAGE} has no table of tests under {HEADING!r}")
    return [f"{_path(file)}::{test}" for file, _, test in (row.partition("::") for row in rows)]


def _path(file: str) -> str:
    """Return where a test file lies: no two have one name. Raises ValueError for any other name."""
    found = sorted(Path("tests").rglob(file))
    if len(found) != 1:
        raise ValueError(f"{PAGE} names {file}, of which there are {len(found)} below tests/")
    return str(found[0])


if __name__ == "__main__":
    try:
        print(*tests(PAGE.read_text()), sep="\n")
    except (OSError, ValueError) as error:
        sys.exit(str(error))
