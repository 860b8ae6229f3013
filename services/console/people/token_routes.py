"""The user's tokens for programs: each has its person's rights, or fewer."""

from __future__ import annotations

import time
from typing import Annotated

import msgspec
from litestar import delete, get, post
from litestar.params import FromPath, JSONBody
from msgspec import Meta

from services.console.accounts.records import ApiToken, Cameras
from services.console.console import Shared
from services.console.people import answers
from services.console.web import access
from services.console.web.asker import Asker, Role
from services.console.web.needs import needs
from services.console.web.parameters import User
from services.console.web.refused import Refused

MOST = 50
DAY_S = 24 * 3600.0
LONGEST_DAYS = 366
# Characters of a token's key, which is its hash, that identify it. They sign nobody in.
_ID_LENGTH = 16


class TokenShown(msgspec.Struct, frozen=True, kw_only=True):
    """A token. id: of the token here. cameras: None: all that its person may see."""

    id: str
    label: str
    role: Role
    cameras: list[str] | None
    began: str
    expires: str


class TokensShown(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens, newest first."""

    tokens: list[TokenShown]


class TokenRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """label: its purpose. role: None: your own. cameras: None: all that you may see. days: until it expires."""

    label: Annotated[str, Meta(min_length=1, max_length=100)]
    role: Role | None = None
    cameras: Cameras | None = None
    days: Annotated[float, Meta(gt=0, le=LONGEST_DAYS)] = 90


class NewToken(msgspec.Struct, frozen=True, kw_only=True):
    """secret: what the program sends; shown only once."""

    secret: str
    token: TokenShown


@get("/me/tokens", opt=needs("viewer"))
async def list_tokens(asker: User, console: Shared) -> TokensShown:
    """Your tokens."""
    _check_is_person(asker)
    found = sorted(console.credentials.tokens(asker.name).items(), key=lambda item: -item[1].began)
    return TokensShown(tokens=[_shown(key, token) for key, token in found])


@post("/me/tokens", opt=needs("viewer"))
async def add_token(asker: User, console: Shared, data: JSONBody[TokenRequest]) -> NewToken:
    """Create a token for a program. It never has more rights than you."""
    _check_is_person(asker)
    role = data.role or asker.role
    if not asker.may(role):
        raise Refused(403, f"a token of yours can't have the role {role}: you are {asker.role}")
    for camera in data.cameras or ():
        access.camera(asker, camera, console.cameras.values)
    if len(console.credentials.tokens(asker.name)) >= MOST:
        raise Refused(409, f"you have {MOST} tokens already: remove one that is not used")
    now = time.time()
    token = ApiToken(
        person=asker.name,
        label=data.label,
        role=role,
        cameras=data.cameras,
        began=now,
        expires=now + data.days * DAY_S,
    )
    await console.audit(
        asker,
        "token.add",
        label=data.label,
        role=role,
        expires=answers.time_of(token.expires),
        **({} if data.cameras is None else answers.audit_cameras(data.cameras)),
    )
    secret, key = await console.credentials.new_token(token)
    return NewToken(secret=secret, token=_shown(key, token))


@delete("/me/tokens/{id:str}", opt=needs("viewer"), status_code=204)
async def remove_token(id: FromPath[str], asker: User, console: Shared) -> None:
    """Revoke a token immediately."""
    _check_is_person(asker)
    found = [(key, token) for key, token in console.credentials.tokens(asker.name).items() if _id(key) == id]
    if not found:
        raise Refused(404, f"you have no token {id[:64]!r}")
    key, token = found[0]
    await console.audit(asker, "token.remove", label=token.label)
    await console.people.bucket.remove(key)


def _check_is_person(asker: Asker) -> None:
    """Raises Refused for a program: its token could renew itself forever."""
    if asker.via == "token":
        raise Refused(403, "tokens are made by whoever is signed in on a page")


def _id(key: str) -> str:
    return key.partition(".")[2][:_ID_LENGTH]


def _shown(key: str, token: ApiToken) -> TokenShown:
    return TokenShown(
        id=_id(key),
        label=token.label,
        role=token.role,
        cameras=None if token.cameras is None else list(token.cameras),
        began=answers.time_of(token.began),
        expires=answers.time_of(token.expires),
    )


ROUTES = [list_tokens, add_token, remove_token]
