"""The people of this console, and how they authenticate: by a session's cookie, a token or a link. See `records`."""

from __future__ import annotations

import asyncio
import time

import msgspec

from services.console.people.asker import ROLES, Asker, Role
from services.console.people.mirrored_bucket import Changed, MirroredBucket
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

# Seconds for which a lost admin role may not have reached every console.
_LEAVING_S = 60.0


class People:
    """People in the bucket. session_s: lifetime of a session."""

    def __init__(self, bucket: MirroredBucket, passwords: Passwords, session_s: float) -> None:
        self.bucket = bucket
        self.passwords = passwords
        self._session_s = session_s

    # ---- the user of a request

    def of_session(self, secret: str) -> Asker | None:
        return self._of_session(hashed("session", secret))

    def of_token(self, secret: str) -> Asker | None:
        return self._of_token(hashed("token", secret))

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
        session = decode(self.bucket.get(key), Session)
        person = session and self.person(session.person)
        if not session or not person or not _is_valid(person, session.began, session.expires):
            return None
        return msgspec.structs.replace(
            self._asker(session.person, person), csrf=session.csrf, key=key, expires=session.expires
        )

    def _of_token(self, key: str) -> Asker | None:
        """Return the user of a token: the lesser role and cameras of the token and its person."""
        token = decode(self.bucket.get(key), ApiToken)
        person = token and self.person(token.person)
        if not token or not person or not _is_valid(person, token.began, token.expires):
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
        groups = (decode(self.bucket.get(group_key(name)), Group) for name in person.groups)
        return frozenset(person.cameras).union(*(group.cameras for group in groups if group))

    # ---- people and groups

    def person(self, name: str) -> Person | None:
        return decode(self.bucket.get(person_key(name)), Person)

    def names(self) -> list[str]:
        return [key.partition(".")[2] for key in self.bucket.keys("person")]

    def admins(self) -> set[str]:
        """Return the people who may change people."""
        return {name for name in self.names() if (person := self.person(name)) and person.is_admin}

    def of_provider(self, id: str) -> str | None:
        """Return the name of the person with this id at the provider."""
        return next((name for name in self.names() if (p := self.person(name)) and p.provider == id), None)

    def groups(self) -> dict[str, Group]:
        found = {key.partition(".")[2]: decode(self.bucket.get(key), Group) for key in self.bucket.keys("group")}
        return {name: group for name, group in found.items() if group}

    async def put(self, name: str, person: Person, revision: int | None = None) -> None:
        """Store a person. Raises Refused if no admin would be left, and as `MirroredBucket.write` does."""
        if not person.is_admin:
            await self._record_leaving(name)
        await self.bucket.write(person_key(name), msgspec.json.encode(person), revision=revision)

    async def remove(self, name: str) -> None:
        """Remove a person with their sessions, tokens, links and saved searches. Raises Refused as `put` does."""
        await self._record_leaving(name)
        await self.bucket.remove(person_key(name))
        await self._end(name, "session", "token", "link")
        await asyncio.gather(*(self.bucket.remove(key) for key in self.bucket.keys(f"saved.{name}")))

    async def sign_out(self, name: str, *, tokens: bool = False) -> None:
        """End all of a person's sessions and links, and with `tokens` their tokens."""
        await self._end(name, "session", "link", *(["token"] if tokens else []))

    async def put_group(self, name: str, group: Group | None, revision: int | None = None) -> None:
        """Store a group; None removes it. Raises as `MirroredBucket.write` does."""
        if group is None:
            await self.bucket.remove(group_key(name), revision=revision)
        else:
            await self.bucket.write(group_key(name), msgspec.json.encode(group), revision=revision)

    async def new_link(self, name: str, role: Role) -> tuple[str, float]:
        """Return (the token of a new link, its expiry in Unix seconds)."""
        secret, key, entry = new_link(name, role)
        await self.bucket.write(key, entry, ttl_s=LINK_S)
        return secret, time.time() + LINK_S

    async def _end(self, name: str, *kinds: str) -> None:
        await asyncio.gather(*(self.bucket.remove(key) for key in self._keys_of(name, *kinds)))

    def sessions(self, name: str) -> list[str]:
        """Return the keys of a person's sessions."""
        return self._keys_of(name, "session")

    def _keys_of(self, name: str, *kinds: str) -> list[str]:
        found = [key for kind in kinds for key in self.bucket.keys(kind)]
        return [key for key in found if (entry := decode(self.bucket.get(key), Owned)) and entry.person == name]

    async def _record_leaving(self, name: str) -> None:
        """Record that an admin loses the role. Raises Refused if no other admin would be left.

        Two admins who leave concurrently would each count on the other. So both must first write the same entry, which
        only one of them can change at the revision that both have read.
        """
        if name not in (admins := self.admins()):
            return
        now, revision = time.time(), self.bucket.revision(LEAVING)
        before = decode(self.bucket.get(LEAVING), Leaving) or Leaving()
        leaving = {admin: since for admin, since in before.people.items() if now - since < _LEAVING_S}
        if not admins - leaving.keys() - {name}:
            raise Refused(409, "nobody would be left who may change people: make somebody else an admin first")
        entry = msgspec.json.encode(Leaving(people={**leaving, name: now}))
        await self.bucket.write(LEAVING, entry, revision=revision)

    # ---- sessions, tokens and links

    async def begin_session(self, name: str) -> tuple[str, Session]:
        """Return (the cookie's secret, the session) of a new session, whatever cookie was sent."""
        now = time.time()
        session = Session(person=name, csrf=new_secret(), began=now, expires=now + self._session_s)
        secret = new_secret()
        await self.bucket.write(hashed("session", secret), msgspec.json.encode(session), ttl_s=self._session_s)
        return secret, session

    async def end_session(self, key: str) -> None:
        await self.bucket.remove(key)

    async def new_token(self, token: ApiToken) -> tuple[str, str]:
        """Store a new token, and return (its secret, its key)."""
        secret = new_secret(TOKEN_PREFIX)
        key = hashed("token", secret)
        await self.bucket.write(key, msgspec.json.encode(token), ttl_s=max(1.0, token.expires - time.time()))
        return secret, key

    def tokens(self, name: str) -> dict[str, ApiToken]:
        """Return a person's tokens by key."""
        found = {key: decode(self.bucket.get(key), ApiToken) for key in self.bucket.keys("token")}
        return {key: token for key, token in found.items() if token and token.person == name}

    async def follow_link(self, secret: str) -> str:
        """Use a link once, and return the name of its person, who is created if missing. Raises Refused."""
        key = hashed("link", secret)
        link = decode(self.bucket.get(key), Link)
        refusal = Refused(401, "this link has been used, or is over: 'tidegate console link' prints another")
        if link is None or link.expires < time.time():
            raise refusal
        try:
            await self.bucket.remove(key, revision=self.bucket.revision(key))
        except Changed:
            raise refusal from None
        person = self.person(link.person)
        if person is None:
            await self.put(link.person, Person(role=link.role, sees_all=True, since=time.time()), revision=0)
        elif person.disabled:
            raise Refused(403, f"{link.person} may not sign in: ask an admin")
        return link.person


def _is_valid(person: Person, began: float, expires: float) -> bool:
    return not person.disabled and person.since <= began and time.time() < expires
