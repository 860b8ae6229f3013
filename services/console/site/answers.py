"""The bodies of replies: the file, what another one changes, and how an apply goes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal

import msgspec

from services.console.site.comparison import Comparison
from services.console.site.document import Unreadable, Wanted
from services.console.web.wrong_parts import WrongPart, wrong_parts
from shared.contract.reading.mistakes import Mistakes
from shared.runtime.plain import plain
from shared.runtime.redact import redact
from shared.site.journal import Lock
from shared.site.plan import Change

# Lines of each kind that an answer has.
MOST = 500


class SiteFile(msgspec.Struct, frozen=True, kw_only=True):
    """text: YAML, with variables in place of passwords. notices: what it leaves out.

    interrupted: who applies a file now, or was interrupted; for admins alone.
    """

    text: str
    notices: list[str]
    interrupted: str = ""


class SiteChange(msgspec.Struct, frozen=True, kw_only=True):
    """what: such as `camera lobby`. details: the fields that differ, with their values."""

    kind: Literal["add", "change", "remove"]
    what: str
    details: str


class ComparedSite(msgspec.Struct, frozen=True, kw_only=True):
    """mistakes: with any, there are no changes. changes: at most 500, and how many there are of each kind.

    notices: what stays although the file does not say so; more: of them that are not listed. sections: of the file,
    which may be pruned. token: of this comparison, to apply it.
    """

    mistakes: list[WrongPart] = []
    changes: list[SiteChange] = []
    added: int = 0
    changed: int = 0
    removed: int = 0
    notices: list[str] = []
    more: int = 0
    sections: list[str] = []
    token: str = ""
    interrupted: str = ""


class SiteApply(msgspec.Struct, frozen=True, kw_only=True):
    """The apply that this console runs, or ran last. doing: how far it is. error: why it failed.

    notes: what happened to an interrupted one.
    """

    state: Literal["none", "runs", "done", "failed"] = "none"
    by: str = ""
    began: str = ""
    doing: str = ""
    error: str = ""
    added: int = 0
    changed: int = 0
    removed: int = 0
    notes: list[str] = []


def interrupted(lock: Lock | None) -> str:
    """Return a sentence on an apply that has not ended; empty if there is none."""
    if lock is None:
        return ""
    changes = f" with {lock.count} changes" if lock.phase == "committed" else ""
    return plain(f"{lock.by} applies a site file{changes}, or was interrupted. The next apply completes it.")


def compared(wanted: Wanted, found: Comparison, lock: Lock | None) -> ComparedSite:
    """Return the changes of a file without mistakes."""
    added, changed, removed = counts(found.plan.changes)
    return ComparedSite(
        changes=[_change(change) for change in found.plan.changes[:MOST]],
        added=added,
        changed=changed,
        removed=removed,
        notices=[plain(notice) for notice in found.plan.notices[:MOST]],
        more=max(0, len(found.plan.notices) - MOST),
        sections=sorted(wanted.sections),
        token=found.token,
        interrupted=interrupted(lock),
    )


def mistaken(text: str, mistakes: Mistakes) -> ComparedSite:
    """Return the mistakes of a file, at most 500, with their lines."""
    if isinstance(mistakes, Unreadable):
        wrong = [WrongPart(path="", text=m.text, line=mistakes.line) for m in mistakes.all]
    else:
        wrong = wrong_parts(text, mistakes.all[:MOST])
    return ComparedSite(
        mistakes=[WrongPart(path=_inert(w.path), text=_inert(w.text), line=w.line) for w in wrong],
    )


def counts(changes: Sequence[Change]) -> tuple[int, int, int]:
    """Return how many are added, changed and removed."""
    kinds = Counter(change.kind for change in changes)
    return kinds["add"], kinds["change"], kinds["remove"]


def _change(change: Change) -> SiteChange:
    return SiteChange(kind=change.kind, what=plain(change.what), details=plain(change.details))


def _inert(text: str) -> str:
    return plain(redact(text))[:2000]
