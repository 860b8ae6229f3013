"""People, whom an admin who sees all cameras adds, changes, and signs out."""

from __future__ import annotations

import time
from typing import Annotated

import msgspec
from litestar import delete, get, post, put
from litestar.params import FromPath, JSONBody, QueryParameter

from services.console.accounts.records import Person, person_key
from services.console.console import Console, Shared
from services.console.people import answers
from services.console.people.answers import PersonChange, PersonShown
from services.console.web import access
from services.console.web.asker import Asker
from services.console.web.needs import needs
from services.console.web.parameters import User
from services.console.web.refused import Refused
from shared.contract import names

MOST = 500


class PeopleShown(msgspec.Struct, frozen=True, kw_only=True):
    """A page of people. next: `cursor` of the next page; None: this is the last."""

    people: list[PersonShown]
    next: str | None


class NewLink(msgspec.Struct, frozen=True, kw_only=True):
    """A link that signs somebody in once, and is shown once. address: None if CONSOLE_URL is not set: then append
    `#/link/` and the token to the address of these pages.
    """

    token: str
    address: str | None
    expires: str


def check_may_manage(asker: Asker) -> None:
    """Raises Refused for an admin who sees only some cameras: they could give themselves the others."""
    if asker.cameras is not None:
        raise Refused(403, "people are changed by an admin who sees all cameras: ask one")


@get("/people", opt=needs("admin"))
async def list_people(
    asker: User,
    console: Shared,
    limit: Annotated[int, QueryParameter(ge=1, le=MOST)] = 100,
    cursor: Annotated[str, QueryParameter(max_length=64, description="`next` of the page before")] = "",
) -> PeopleShown:
    """People who may use the console, by name."""
    check_may_manage(asker)
    left = [name for name in console.people.names() if name > cursor]
    found = [_shown(console, name) for name in left[:limit]]
    return PeopleShown(people=found, next=left[limit - 1] if len(left) > limit else None)


@put("/people/{name:str}", opt=needs("admin"))
async def put_person(name: FromPath[str], asker: User, console: Shared, data: JSONBody[PersonChange]) -> PersonShown:
    """Add a person, or change their rights."""
    check_may_manage(asker)
    names.check_token(name, "name")
    before = console.people.person(name)
    revision = console.people.bucket.revision(person_key(name))
    _check(console, asker, data, before)
    await console.audit(asker, "person.put", person=name, is_new=before is None, **answers.audit_details(data))
    await console.people.put(name, answers.apply_change(before, data, time.time()), revision)
    return _shown(console, name)


@delete("/people/{name:str}", opt=needs("admin"), status_code=204)
async def remove_person(name: FromPath[str], asker: User, console: Shared) -> None:
    """Remove a person: their sessions, tokens and links end."""
    check_may_manage(asker)
    _existing_person(console, name)
    await console.audit(asker, "person.remove", person=name)
    await console.people.remove(name)


@post("/people/{name:str}/link", opt=needs("admin"))
async def link_person(name: FromPath[str], asker: User, console: Shared) -> NewLink:
    """Create a link that signs somebody in once, within a day. Programs can't: the link would outlive their token."""
    check_may_manage(asker)
    if asker.via == "token":
        raise Refused(403, "a link is made by whoever is signed in on a page")
    person = _existing_person(console, name)
    if person.disabled:
        raise Refused(409, f"{name} may not sign in: allow that first")
    await console.audit(asker, "person.link", person=name)
    secret, expires = await console.credentials.new_link(name, person.role)
    url = console.settings.console_url.rstrip("/")
    return NewLink(token=secret, address=f"{url}/#/link/{secret}" if url else None, expires=answers.time_of(expires))


@post("/people/{name:str}/signout", opt=needs("admin"), status_code=204)
async def sign_person_out(
    name: FromPath[str],
    asker: User,
    console: Shared,
    tokens: Annotated[bool, QueryParameter(description="end their programs' tokens, too")] = False,
) -> None:
    """End all of a person's sessions and unused links."""
    check_may_manage(asker)
    _existing_person(console, name)
    await console.audit(asker, "person.signout", person=name, tokens=tokens)
    await console.credentials.sign_out(name, tokens=tokens)


def _existing_person(console: Console, name: str) -> Person:
    """Return the person. Raises Refused if there is none of that name."""
    person = console.people.person(name)
    if person is None:
        raise Refused(404, f"there is nobody called {name[:64]!r}")
    return person


def _check(console: Console, asker: Asker, change: PersonChange, before: Person | None) -> None:
    """Raises Refused for an added camera or group that does not exist; one that was assigned before may stay."""
    for camera in set(change.cameras) - set(before.cameras if before else ()):
        access.camera(asker, camera, console.cameras.values)
    for group in set(change.groups) - set(before.groups if before else ()):
        if console.people.group(group) is None:
            raise Refused(404, f"there is no group {group!r}")


def _shown(console: Console, name: str) -> PersonShown:
    record, credentials = console.people.person(name) or Person(role="viewer"), console.credentials
    return answers.person(name, record, credentials.sessions(name), len(credentials.tokens(name)))


ROUTES = [list_people, put_person, remove_person, link_person, sign_person_out]
