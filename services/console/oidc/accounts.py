"""Maps an account of the provider to a person of the console.

A name alone identifies nobody: names change, and are reused. So a person is bound to the provider's own id at their
first sign-in: an existing person whom an admin marked as expected, or a new one.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from services.console.accounts.records import EXPECTED, Person
from services.console.settings import ConsoleSettings
from services.console.web.asker import Role
from services.console.web.refused import Refused

_LONGEST_ID = 255
_LONGEST_NAME = 64


def id_of(issuer: str, claims: dict[str, Any]) -> str:
    """Return the id that a person is bound to. Raises Refused."""
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= _LONGEST_ID or not subject.isprintable():
        raise Refused(401, "the provider of accounts does not say who this is: see its settings")
    return f"{issuer} {subject}"


def name_of(settings: ConsoleSettings, claims: dict[str, Any]) -> str:
    """Return the name of a new person. Raises Refused."""
    claim = claims.get(settings.console_oidc_name)
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", claim[:1000]).strip("-")[:_LONGEST_NAME] if isinstance(claim, str) else ""
    if not name:
        raise Refused(403, f"the provider of accounts does not say {settings.console_oidc_name}: see CONSOLE_OIDC_NAME")
    return name


def role_of(settings: ConsoleSettings, claims: dict[str, Any]) -> Role | None:
    """Return the highest role of their groups; None if no groups are set. Raises Refused if their groups have none."""
    if not settings.groups_of:
        return None
    claim = claims.get(settings.console_oidc_groups, [])
    values = claim if isinstance(claim, list) else [claim]
    groups = {group for group in values if isinstance(group, str)}
    for role, those in settings.groups_of.items():
        if groups & those:
            return role
    raise Refused(403, "you are in no group that may use the console: ask whoever runs it")


def record_of(person: Person | None, id: str, name: str, role: Role | None, now: float) -> Person:
    """Return the record of a person who signs in. person: the one of that name, if any. Raises Refused."""
    if person is None:
        if role is None:
            raise Refused(403, f"nobody has let you in yet: ask an admin to add {name!r}")
        person = Person(role=role, sees_all=role == "admin", since=now)
    elif person.provider not in (EXPECTED, id):
        raise Refused(403, f"somebody else is called {name!r} here: ask an admin")
    if person.disabled:
        raise Refused(403, f"{name} may not sign in: ask an admin")
    if role is None or role == person.role:
        return msgspec.structs.replace(person, provider=id)
    # A new admin sees all cameras; a former admin does not keep that sight.
    sees_all = role == "admin" or (person.sees_all and person.role != "admin")
    return msgspec.structs.replace(person, provider=id, role=role, sees_all=sees_all)
