"""Findings of checks and their remedies: the lines of `tidegate doctor` and `tidegate cluster check`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from rich.console import Console
from rich.text import Text

from tidegate.view.inert import echo

STYLES = {"ok": "green", "note": "yellow", "bad": "red"}


class Finding(NamedTuple):
    """level: ok, note (works without it) or bad. remedy: what to do; empty when ok.

    causes: lines that explain this one while they are bad.
    """

    what: str
    level: str
    found: str
    remedy: str = ""
    causes: tuple[str, ...] = ()


def show(findings: Sequence[Finding], out: Console) -> None:
    """Print a line for each, and a remedy below if it is not ok; in a pipe, fields separated by tabs."""
    width = max(len(f.what) for f in findings)
    for f in findings:
        if not out.is_terminal:
            echo("\t".join((f.level, f.what, f.found, f.remedy)), file=out.file)
            continue
        out.print(Text.assemble((f"{f.level:<5}", STYLES[f.level]), f"{f.what:<{width}}  {f.found}"), soft_wrap=True)
        if f.remedy:
            out.print(Text.assemble(" " * 5, ("remedy: ", "bold"), f.remedy), soft_wrap=True)


def is_well(findings: Sequence[Finding]) -> bool:
    """Return whether nothing is bad."""
    return all(f.level != "bad" for f in findings)
