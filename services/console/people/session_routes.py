"""Signing in and out, and the signed-in user."""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated

import msgspec
from litestar import Response, delete, get, post
from litestar.datastructures import Cookie
from litestar.params import JSONBody
from msgspec import Meta

from services.console.accounts.gate import ASKER, COOKIE, session_cookie
from services.console.accounts.records import hashed, person_key
from services.console.console import Console, Shared
from services.console.metrics import SIGN_INS
from services.console.web.asker import Asker, Role
from services.console.web.needs import PUBLIC, needs
from services.console.web.parameters import AnyRequest, User
from services.console.web.refused import Refused
from shared.runtime.telemetry import logger


class Credentials(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Name and password of a person who signs in."""

    name: Annotated[str, Meta(max_length=64)]
    password: Annotated[str, Meta(max_length=256)]


class OneTime(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The token at the end of a one-time link."""

    token: Annotated[str, Meta(max_length=256)]


class Me(msgspec.Struct, frozen=True, kw_only=True):
    """The user. cameras: those that they may see; None: all. csrf: `X-CSRF-Token` of changes from a page."""

    name: str
    role: Role
    cameras: list[str] | None
    via: str
    csrf: str
    expires: float
    has_password: bool
    version: str


class Visit(msgspec.Struct, frozen=True, kw_only=True):
    """me: the user that this browser is signed in as; None: none. openid: whether single sign-on is available."""

    me: Me | None
    openid: bool


@get("/session", opt=PUBLIC)
async def get_session(request: AnyRequest, console: Shared) -> Visit:
    """The user of this browser, if any."""
    asker: Asker | None = request.scope["state"][ASKER]
    return Visit(me=_me(console, asker) if asker else None, openid=bool(console.settings.console_oidc_issuer))


@post("/session", opt=PUBLIC, status_code=200)
async def sign_in(request: AnyRequest, console: Shared, data: JSONBody[Credentials]) -> Response[Me]:
    """Sign in by name and password. The answer sets a cookie."""
    address = (request.scope.get("client") or ("",))[0]
    try:
        console.limits.check(data.name, address)
    except Refused:
        SIGN_INS.labels("limited").inc()
        raise
    person = console.people.person(data.name)
    is_match = await console.passwords.fits(person.password if person else "", data.password)
    if not is_match or person is None or person.disabled:
        SIGN_INS.labels("refused").inc()
        logger("console").warning("somebody could not sign in", address=address)
        raise Refused(401, "this name and this password do not go together")
    console.limits.record_success(data.name, address)
    return await session_response(request, console, data.name)


@post("/session/link", opt=PUBLIC, status_code=200)
async def follow_link(request: AnyRequest, console: Shared, data: JSONBody[OneTime]) -> Response[Me]:
    """Sign in by a one-time link."""
    address = (request.scope.get("client") or ("",))[0]
    name = hashed("link", data.token)
    console.limits.check(name, address)
    link = await console.credentials.use_link(data.token)
    await console.people.admit(link)
    console.limits.record_success(name, address)
    return await session_response(request, console, link.person)


async def session_response(request: AnyRequest, console: Console, name: str) -> Response[Me]:
    """Start a session for an authenticated person, and return the answer with its cookie."""
    asker, cookie = await start_session(request, console, name)
    return Response(_me(console, asker), cookies=[cookie])


async def start_session(request: AnyRequest, console: Console, name: str) -> tuple[Asker, Cookie]:
    """Start a new session; the session of the request's cookie, if any, ends. Raises Refused."""
    if before := session_cookie(request):
        key = hashed("session", before)
        if console.people.bucket.get(key):
            await console.people.bucket.remove(key)
    secret = await console.credentials.begin_session(name)
    asker = console.authenticator.of_session(secret)
    if asker is None:
        raise Refused(403, f"{name} may not sign in: ask an admin")
    SIGN_INS.labels("signed in").inc()
    await console.audit(asker, "session.begin")
    return asker, _cookie(console, secret)


@get("/me", opt=needs("viewer"))
async def get_me(asker: User, console: Shared) -> Me:
    """Your account, and the cameras that you may see."""
    return _me(console, asker)


@delete("/session", opt=needs("viewer"), status_code=204)
async def sign_out(asker: User, console: Shared) -> Response[None]:
    """Sign out of this browser."""
    if asker.via == "session":
        await console.audit(asker, "session.end")
        await console.people.bucket.remove(asker.key)
    return Response(None, status_code=204, cookies=[_cookie(console, "")])


@delete("/me/sessions", opt=needs("viewer"), status_code=204)
async def sign_out_everywhere(asker: User, console: Shared) -> Response[None]:
    """End all of your sessions, this one too, and your unused links. Tokens stay."""
    if asker.via == "token":
        raise Refused(403, "sessions are ended by whoever is signed in on a page")
    await console.audit(asker, "person.signout", person=asker.name, tokens=False)
    await console.credentials.sign_out(asker.name)
    return Response(None, status_code=204, cookies=[_cookie(console, "")])


class NewPassword(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A new password. old: empty if there was none."""

    old: Annotated[str, Meta(max_length=256)] = ""
    new: Annotated[str, Meta(max_length=256)]


@post("/me/password", opt=needs("viewer"), status_code=204)
async def set_password(request: AnyRequest, asker: User, console: Shared, data: JSONBody[NewPassword]) -> None:
    """Set your password. Programs can't: tokens sign nobody in."""
    if asker.via != "session":
        raise Refused(403, "a password is chosen by whoever is signed in on a page")
    address = (request.scope.get("client") or ("",))[0]
    console.limits.check(asker.name, address)
    person = console.people.person(asker.name)
    if person is None:
        raise Refused(401, "sign in first")
    if person.password and not await console.passwords.fits(person.password, data.old):
        raise Refused(403, "the old password is another one")
    revision = console.people.bucket.revision(person_key(asker.name))
    hash = await console.passwords.hash(data.new)
    await console.audit(asker, "person.password", person=asker.name)
    await console.people.put(asker.name, msgspec.structs.replace(person, password=hash), revision)
    await console.credentials.end_sessions(asker.name, but=asker.key)


def _me(console: Console, asker: Asker) -> Me:
    person = console.people.person(asker.name)
    return Me(
        name=asker.name,
        role=asker.role,
        cameras=None if asker.cameras is None else sorted(asker.cameras),
        via=asker.via,
        csrf=asker.csrf,
        expires=asker.expires,
        has_password=bool(person and person.password),
        version=version("tidegate"),
    )


def _cookie(console: Console, secret: str) -> Cookie:
    return Cookie(
        COOKIE,
        value=secret,
        path=console.settings.sub_path or "/",
        max_age=int(console.settings.console_session_h * 3600) if secret else 0,
        httponly=True,
        samesite="strict",
        secure=console.settings.is_https,
    )


ROUTES = [get_session, sign_in, follow_link, get_me, sign_out, set_password, sign_out_everywhere]
