"""People, and the groups of cameras that they may see. See `records`."""

from __future__ import annotations

import asyncio
import time

import msgspec

from services.console.accounts.credentials import Credentials
from services.console.accounts.records import LEAVING, Group, Leaving, Link, Person, group_key, person_key
from services.console.links.mirrored_bucket import MirroredBucket
from services.console.web.refused import Refused

# Seconds for which a lost admin role may not have reached every console.
_LEAVING_S = 60.0


class People:
    """People in the bucket `console`."""

    def __init__(self, bucket: MirroredBucket, credentials: Credentials) -> None:
        self.bucket = bucket
        self._credentials = credentials

    def person(self, name: str) -> Person | None:
        return self.bucket.read(person_key(name), Person)

    def all(self) -> dict[str, Person]:
        """Return all people by name."""
        found = {name: self.person(name) for name in self.names()}
        return {name: person for name, person in found.items() if person}

    def names(self) -> list[str]:
        return [key.partition(".")[2] for key in self.bucket.keys("person")]

    def admins(self) -> set[str]:
        """Return the people who may change people."""
        return {name for name, person in self.all().items() if person.is_admin}

    def of_provider(self, id: str) -> str | None:
        """Return the name of the person with this id at the provider."""
        return next((name for name, person in self.all().items() if person.provider == id), None)

    def group(self, name: str) -> Group | None:
        return self.bucket.read(group_key(name), Group)

    def groups(self) -> dict[str, Group]:
        found = {name: self.group(name) for name in (key.partition(".")[2] for key in self.bucket.keys("group"))}
        return {name: group for name, group in found.items() if group}

    def cameras_of(self, person: Person) -> frozenset[str]:
        """Return the cameras that a person is given, by name or by a group."""
        groups = map(self.group, person.groups)
        return frozenset(person.cameras).union(*(group.cameras for group in groups if group))

    async def put(self, name: str, person: Person, revision: int | None = None) -> None:
        """Store a person. Raises Refused if no admin would be left, and as `MirroredBucket.write` does."""
        if not person.is_admin:
            await self._record_leaving(name)
        await self.bucket.write(person_key(name), msgspec.json.encode(person), revision=revision)

    async def remove(self, name: str) -> None:
        """Remove a person with their sessions, tokens, links and saved searches. Raises Refused as `put` does."""
        await self._record_leaving(name)
        await self.bucket.remove(person_key(name))
        await self._credentials.sign_out(name, tokens=True)
        await asyncio.gather(*(self.bucket.remove(key) for key in self.bucket.keys(f"saved.{name}")))

    async def admit(self, link: Link) -> None:
        """Let in the person of a used link, who is created if missing. Raises Refused."""
        person = self.person(link.person)
        if person is None:
            await self.put(link.person, Person(role=link.role, sees_all=True, since=time.time()), revision=0)
        elif person.disabled:
            raise Refused(403, f"{link.person} may not sign in: ask an admin")

    async def _record_leaving(self, name: str) -> None:
        """Record that an admin loses the role. Raises Refused if no other admin would be left.

        Two admins who leave concurrently would each count on the other. So both must first write the same entry, which
        only one of them can change at the revision that both have read.
        """
        if name not in (admins := self.admins()):
            return
        now, revision = time.time(), self.bucket.revision(LEAVING)
        before = self.bucket.read(LEAVING, Leaving) or Leaving()
        leaving = {admin: since for admin, since in before.people.items() if now - since < _LEAVING_S}
        if not admins - leaving.keys() - {name}:
            raise Refused(409, "nobody would be left who may change people: make somebody else an admin first")
        entry = msgspec.json.encode(Leaving(people={**leaving, name: now}))
        await self.bucket.write(LEAVING, entry, revision=revision)
