"""What a site file changes, and a token of the comparison. Pure.

The console has no variables, so passwords of present cameras stay, and a new camera can't have one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from typing import NamedTuple

import msgspec

from services.console.site.document import ELSEWHERE, Wanted
from shared.contract.reading.mistakes import Mistake, Mistakes
from shared.site import plan
from shared.site.plan import Plan
from shared.site.state import State

_REMEDY = "the console has no variables: set the password in the camera's form, or run 'tidegate apply'"
_OPTION = ": --prune removes it"
_PASSWORD = ("the stored password stays", "the stored login stays")


class Comparison(NamedTuple):
    """plan: what to change. token: of the file, the sections to prune and the state: another one has another."""

    plan: Plan
    token: str


def compare(text: str, wanted: Wanted, now: State, prune: Collection[str]) -> Comparison:
    """Return the changes. prune: sections of which the rest goes, if the file has them. Raises Mistakes."""
    try:
        found = plan.plan(wanted.site, now, wanted.logins, wanted.sections & frozenset(prune))
    except Mistakes as e:
        raise Mistakes("the site", [_with_remedy(mistake) for mistake in e.all]) from None
    return Comparison(found._replace(notices=_notices(found, wanted)), _token(text, now, prune))


def _notices(found: Plan, wanted: Wanted) -> list[str]:
    """Return what stays. Passwords stay always, so one line counts them."""
    stays = [notice.removesuffix(_OPTION) for notice in found.notices if not notice.endswith(_PASSWORD)]
    if count := len(found.notices) - len(stays):
        stays.insert(0, f"the stored password of {count} camera{'s' * (count > 1)} stays")
    return [f"{ELSEWHERE[of]} not changed here: 'tidegate apply' does that" for of in wanted.elsewhere] + stays


def _with_remedy(mistake: Mistake) -> Mistake:
    is_of_variable = mistake.text.startswith("the variable ")
    return mistake._replace(text=f"{mistake.text}; {_REMEDY}") if is_of_variable else mistake


def _token(text: str, now: State, prune: Collection[str]) -> str:
    revisions = sorted((*at, revision) for at, revision in now.revisions.items())
    return hashlib.sha256(msgspec.json.encode([text, sorted(set(prune)), revisions])).hexdigest()
