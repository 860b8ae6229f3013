"""The user of a session, a token or a proxy, with the rights that they have now."""

from __future__ import annotations

import time
from typing import Any

import msgspec

from services.console.accounts.people import People
from services.console.accounts.records import ApiToken, Person, Session, hashed
from services.console.web.asker import ROLES, Asker, Role


class Authenticator:
    """Finds users by their credentials; None if these are not valid."""

    def __init__(self, people: People) -> None:
        self._people = people

    def of_session(self, secret: str) -> Asker | None:
        return self._of_session(hashed("session", secret))

    def of_token(self, secret: str) -> Asker | None:
        return self._of_token(hashed("token", secret))

    def of_proxy(self, name: str) -> Asker | None:
        person = self._people.person(name)
        return None if not person or person.disabled else self._asker(name, person, via="proxy")

    def refresh(self, asker: Asker) -> Asker | None:
        """Return the user with the rights they have now, so that long requests end when these are lost."""
        match asker.via:
            case "session":
                return self._of_session(asker.key)
            case "token":
                return self._of_token(asker.key)
            case "proxy":
                return self.of_proxy(asker.name)

    def _of_session(self, key: str) -> Asker | None:
        session = self._people.bucket.read(key, Session)
        person = session and self._valid_person(session)
        if not session or not person:
            return None
        return self._asker(session.person, person, csrf=session.csrf, key=key, expires=session.expires)

    def _of_token(self, key: str) -> Asker | None:
        """Return the user of a token: the lesser role and cameras of the token and its person."""
        token = self._people.bucket.read(key, ApiToken)
        person = token and self._valid_person(token)
        if not token or not person:
            return None
        asker = self._asker(token.person, person, via="token", key=key, expires=token.expires)
        role: Role = min(token.role, asker.role, key=ROLES.index)
        cameras = asker.cameras
        if token.cameras is not None:
            cameras = frozenset(c for c in token.cameras if asker.sees(c))
        return msgspec.structs.replace(asker, role=role, cameras=cameras)

    def _valid_person(self, credential: Session | ApiToken) -> Person | None:
        person = self._people.person(credential.person)
        is_valid = person and not person.disabled and person.since <= credential.began
        return person if is_valid and time.time() < credential.expires else None

    def _asker(self, name: str, person: Person, **fields: Any) -> Asker:
        cameras = None if person.sees_all else self._people.cameras_of(person)
        return Asker(name=name, role=person.role, cameras=cameras, **fields)
