"""Texts on which a search for credentials by patterns takes quadratic time or more."""

from __future__ import annotations

# Each made the patterns backtrack: 12 kB of the last took a minute and a half.
HOSTILE = [
    "a" * 1_000_000,
    "a://" * 250_000,
    "://" * 300_000,
    "/" * 1_000_000,
    "://" + "/" * 1_000_000,
    "://" + "/_" * 500_000 + "pass",
    "://a/;" * 160_000,
    "x://" + "@" * 1_000_000,
    "?pass=" * 160_000,
    "&" * 1_000_000,
    "'" * 1_000_000,
]
