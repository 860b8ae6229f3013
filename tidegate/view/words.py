"""Numbers in words."""

from __future__ import annotations


def counted(n: int, noun: str) -> str:
    """Return `1 worker`, `2 workers`."""
    return f"{n} {noun}" + ("" if n == 1 else "s")


def sized(size: float) -> str:
    """Return bytes: `1.25 GB`, `7.4 MB`."""
    return f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def amount(value: float) -> str:
    """Return hours or money: `1,234.50`, and for small amounts enough digits: `0.0042`."""
    return f"{value:,.2f}" if value >= 1 else f"{value:.2g}"


def duration(seconds: float) -> str:
    """Return seconds, or minutes from two of them on: `40 s`, `6 min`."""
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
