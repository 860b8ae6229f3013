"""Cause before effect: a line that a bad one explains is named in that one's line, and has none of its own.

Example:
    fold(findings)      # the bad ones, then the notes, then the ok ones
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tidegate.view.findings import Finding

_LEVELS = ("bad", "note", "ok")


def fold(findings: Sequence[Finding]) -> list[Finding]:
    """Return the findings without those that another explains, the worst level first, else in their order."""
    bad = {f.what: f for f in reversed(findings) if f.level == "bad"}
    roots = [_root(f, bad) for f in findings]
    effects: dict[str, list[str]] = {}
    for finding, root in zip(findings, roots, strict=True):
        if root != finding.what and finding.what not in effects.setdefault(root, []):
            effects[root].append(finding.what)
    left = [
        _with_effects(f, effects.get(f.what, [])) if f is bad.get(f.what) else f
        for f, root in zip(findings, roots, strict=True)
        if root == f.what
    ]
    return sorted(left, key=lambda f: _LEVELS.index(f.level))


def _root(finding: Finding, bad: Mapping[str, Finding]) -> str:
    """Return the name of the bad line behind it that no other explains; its own if there is none."""
    passed = [finding.what]
    while finding.level != "ok":
        cause = next((c for c in finding.causes if c in bad), None)
        if cause is None:
            return passed[-1]
        if cause in passed:  # lines that explain each other explain nothing
            break
        finding = bad[cause]
        passed.append(cause)
    return passed[0]


def _with_effects(finding: Finding, effects: Sequence[str]) -> Finding:
    if not effects:
        return finding
    return finding._replace(found=f"{finding.found}; hence also {', '.join(effects)}")
