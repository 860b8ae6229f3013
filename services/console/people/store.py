"""The people of this console, and how each is known: by a session's cookie, a token or a link. See `records`."""

from __future__ import annotations

import asyncio
import time

import msgspec

from services.console.people.asker import ROLES, Asker, Role
from services.console.people.kept import Changed, Kept
from services.console.people.passwords import Passwords
from services.console.people.records import (
    LEAVING,
    LINK_S,
    TOKEN_PREFIX,
    ApiToken,
    Group,
    Leaving,
    Link,
    Owned,
    Person,
    Session,
    decode,
    group_key,
    hashed,
    new_link,
    new_secret,
    person_key,
)
from services.console.web.refused import Refused

# For so long after somebody was said to be no admin any more it may not be known yet that they are none.
_LEAVING_S = 60.0


class People:
    """session_s: how long somebody stays signed in."""

    def __init__(self, kept: Kept, passwords: Passwords, session_s: float) -> None:
        self.kept = kept
        self.passwords = passwords
        self._session_s = session_s

    # ---- who asks

    def of_session(self, secret: str) -> Asker | None:
        return self._of_session(hashed("session", secret))

    def of_token(self, secret: str) -> Asker | None:
        return self._of_token(hashed("token", secret))

    def again(self, asker: Asker) -> Asker | None:
        """Who asked before, as they are now: what runs for hours ends once they may no longer."""
        match asker.via:
            case "session":
                return self._of_session(asker.key)
            case "token":
                return self._of_token(asker.key)
            case "proxy":
                return self.of_proxy(asker.name)

    def _of_session(self, key: str) -> Asker | None:
        session = decode(self.kept.get(key), Session)
        person = session and self.person(session.person)
        if not session or not person or not _counts(person, session.began, session.expires):
            return None
        return msgspec.structs.replace(
            self._asker(session.person, person), csrf=session.csrf, key=key, expires=session.expires
        )

    def _of_token(self, key: str) -> Asker | None:
        """A token's role and cameras are the lesser of its own and its person's."""
        token = decode(self.kept.get(key), ApiToken)
        person = token and self.person(token.person)
        if not token or not person or not _counts(person, token.began, token.expires):
            return None
        asker = self._asker(token.person, person)
        role: Role = min(token.role, asker.role, key=ROLES.index)
        cameras = asker.cameras
        if token.cameras is not None:
            cameras = frozenset(c for c in token.cameras if asker.sees(c))
        return msgspec.structs.replace(asker, role=role, cameras=cameras, via="token", key=key, expires=token.expires)

    def of_proxy(self, name: str) -> Asker | None:
        person = self.person(name)
        return (
            None if not person or person.disabled else msgspec.structs.replace(self._asker(name, person), via="proxy")
        )

    def _asker(self, name: str, person: Person) -> Asker:
        return Asker(name=name, role=person.role, cameras=None if person.sees_all else self._cameras(person))

    def _cameras(self, person: Person) -> frozenset[str]:
        groups = (decode(self.kept.get(group_key(name)), Group) for name in person.groups)
        return frozenset(person.cameras).union(*(group.cameras for group in groups if group))

    # ---- people and groups

    def person(self, name: str) -> Person | None:
        return decode(self.kept.get(person_key(name)), Person)

    def names(self) -> list[str]:
        return [key.partition(".")[2] for key in self.kept.keys("person")]

    def admins(self) -> set[str]:
        """Those who may change people."""
        return {name for name in self.names() if (person := self.person(name)) and person.is_admin}

    def of_provider(self, id: str) -> str | None:
        """The name of whom a provider of accounts knows by this id."""
        return next((name for name in self.names() if (p := self.person(name)) and p.provider == id), None)

    def groups(self) -> dict[str, Group]:
        found = {key.partition(".")[2]: decode(self.kept.get(key), Group) for key in self.kept.keys("group")}
        return {name: group for name, group in found.items() if group}

    async def put(self, name: str, person: Person, revision: int | None = None) -> None:
        """Raises Refused where nobody who may change people would be left, and as `Kept.write` does."""
        if not person.is_admin:
            await self._let_go(name)
        await self.kept.write(person_key(name), msgspec.json.encode(person), revision=revision)

    async def remove(self, name: str) -> None:
        """With their sessions, tokens, links and saved searches. Raises Refused as `put` does."""
        await self._let_go(name)
        await self.kept.remove(person_key(name))
        await self._end(name, "session", "token", "link")
        await asyncio.gather(*(self.kept.remove(key) for key in self.kept.keys(f"saved.{name}")))

    async def sign_out(self, name: str, *, tokens: bool = False) -> None:
        """End all of their sessions and links. tokens: these too."""
        await self._end(name, "session", "link", *(["token"] if tokens else []))

    async def put_group(self, name: str, group: Group | None, revision: int | None = None) -> None:
        """None: there is none any more. Raises as `Kept.write` does."""
        if group is None:
            await self.kept.remove(group_key(name), revision=revision)
        else:
            await self.kept.write(group_key(name), msgspec.json.encode(group), revision=revision)

    async def new_link(self, name: str, role: Role) -> tuple[str, float]:
        """(what a link for them ends with, when it ends in Unix seconds)."""
        secret, key, entry = new_link(name, role)
        await self.kept.write(key, entry, ttl_s=LINK_S)
        return secret, time.time() + LINK_S

    async def _end(self, name: str, *kinds: str) -> None:
        await asyncio.gather(*(self.kept.remove(key) for key in self._keys_of(name, *kinds)))

    def sessions(self, name: str) -> list[str]:
        """The keys of a person's sessions."""
        return self._keys_of(name, "session")

    def _keys_of(self, name: str, *kinds: str) -> list[str]:
        found = [key for kind in kinds for key in self.kept.keys(kind)]
        return [key for key in found if (entry := decode(self.kept.get(key), Owned)) and entry.person == name]

    async def _let_go(self, name: str) -> None:
        """Say of an admin that they are about to be none. Raises Refused where no other would be left.

        Two who take each other's place at the same time would both find the other there: so who leaves is written into
        one entry first, which only one of them can change as both have read it.
        """
        if name not in (admins := self.admins()):
            return
        now, revision = time.time(), self.kept.revision(LEAVING)
        said = decode(self.kept.get(LEAVING), Leaving) or Leaving()
        leaving = {who: since for who, since in said.people.items() if now - since < _LEAVING_S}
        if not admins - leaving.keys() - {name}:
            raise Refused(409, "nobody would be left who may change people: make somebody else an admin first")
        entry = msgspec.json.encode(Leaving(people={**leaving, name: now}))
        await self.kept.write(LEAVING, entry, revision=revision)

    # ---- sessions, tokens and links

    async def begin_session(self, name: str) -> tuple[str, Session]:
        """(the cookie's secret, the session): always a new one, whatever cookie was sent."""
        now = time.time()
        session = Session(person=name, csrf=new_secret(), began=now, expires=now + self._session_s)
        secret = new_secret()
        await self.kept.write(hashed("session", secret), msgspec.json.encode(session), ttl_s=self._session_s)
        return secret, session

    async def end_session(self, key: str) -> None:
        await self.kept.remove(key)

    async def new_token(self, token: ApiToken) -> tuple[str, str]:
        """(the token, its key)."""
        secret = new_secret(TOKEN_PREFIX)
        key = hashed("token", secret)
        await self.kept.write(key, msgspec.json.encode(token), ttl_s=max(1.0, token.expires - time.time()))
        return secret, key

    def tokens(self, name: str) -> dict[str, ApiToken]:
        """A person's tokens, by key."""
        found = {key: decode(self.kept.get(key), ApiToken) for key in self.kept.keys("token")}
        return {key: token for key, token in found.items() if token and token.person == name}

    async def follow_link(self, secret: str) -> str:
        """The name of the person whom a link signs in, and who is made where there is none. It works once.

        Raises Refused.
        """
        key = hashed("link", secret)
        link = decode(self.kept.get(key), Link)
        gone = Refused(401, "this link has been used, or is over: 'tidegate console link' prints another")
        if link is None or link.expires < time.time():
            raise gone
        try:
            await self.kept.remove(key, revision=self.kept.revision(key))
        except Changed:
            raise gone from None
        person = self.person(link.person)
        if person is None:
            await self.put(link.person, Person(role=link.role, sees_all=True, since=time.time()), revision=0)
        elif person.disabled:
            raise Refused(403, f"{link.person} may not sign in: ask an admin")
        return link.person


def _counts(person: Person, began: float, expires: float) -> bool:
    return not person.disabled and person.since <= began and time.time() < expires
