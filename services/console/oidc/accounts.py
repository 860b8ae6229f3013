"""Which of our people somebody is whom the provider knows.

By its name for them alone, nobody is anybody here: names are changed, and given to others. So a person is bound to the
provider's own id of them, the first time that they sign in: one that an admin has said to expect, or one that is new.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from services.console.oidc.settings import OidcSettings
from services.console.people.asker import Role
from services.console.people.records import EXPECTED, Person
from services.console.web.refused import Refused

_LONGEST_ID = 255
_LONGEST_NAME = 64


def id_of(issuer: str, claims: dict[str, Any]) -> str:
    """What a person is bound to. Raises Refused."""
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= _LONGEST_ID or not subject.isprintable():
        raise Refused(401, "the provider of accounts does not say who this is: see its settings")
    return f"{issuer} {subject}"


def name_of(settings: OidcSettings, claims: dict[str, Any]) -> str:
    """What somebody new is called. Raises Refused."""
    said = claims.get(settings.console_oidc_name)
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", said[:1000]).strip("-")[:_LONGEST_NAME] if isinstance(said, str) else ""
    if not name:
        raise Refused(403, f"the provider of accounts does not say {settings.console_oidc_name}: see CONSOLE_OIDC_NAME")
    return name


def role_of(settings: OidcSettings, claims: dict[str, Any]) -> Role | None:
    """The highest that a group of theirs has; None where groups say nothing. Raises Refused where theirs have none."""
    if not settings.groups_of:
        return None
    said = claims.get(settings.console_oidc_groups, [])
    many = said if isinstance(said, list) else [said]
    groups = {group for group in many if isinstance(group, str)}
    for role, those in settings.groups_of.items():
        if groups & those:
            return role
    raise Refused(403, "you are in no group that may use the console: ask whoever runs it")


def signed_in(person: Person | None, id: str, name: str, role: Role | None, now: float) -> Person:
    """The record of somebody who signs in by the provider. person: of that name, if there is one. Raises Refused."""
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
    # Who becomes an admin sees all, and who is none any more does not see all because they were one.
    sees_all = role == "admin" or (person.sees_all and person.role != "admin")
    return msgspec.structs.replace(person, provider=id, role=role, sees_all=sees_all)
