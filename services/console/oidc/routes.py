"""Signing in by the organisation's accounts: the redirect to the provider and its callback."""

from __future__ import annotations

import html
import time
from typing import Annotated, Any

from litestar import Response, get
from litestar.datastructures import Cookie
from litestar.di import NamedDependency
from litestar.params import QueryParameter

from services.console.accounts.records import person_key
from services.console.console import Console, Shared
from services.console.metrics import SIGN_INS
from services.console.oidc import accounts
from services.console.oidc.flow import ATTEMPT_S, Try
from services.console.oidc.provider import Provider
from services.console.people.session_routes import start_session
from services.console.web.asker import Asker
from services.console.web.needs import PUBLIC
from services.console.web.parameters import AnyRequest
from services.console.web.refused import Refused
from shared.runtime.errors import TidegateError
from shared.runtime.plain import plain

Page = NamedDependency[Provider]

COOKIE = "tidegate_oidc"
PATH = "/api/v1/session/oidc"

ProviderText = Annotated[str, QueryParameter(max_length=4096, description="as the provider says it")]


@get("/session/oidc", opt=PUBLIC, status_code=302)
async def sign_in_by_provider(request: AnyRequest, console: Shared, page: Page) -> Response[None]:
    """Redirect the browser to the provider to sign in."""
    _check_is_set(console)
    attempt = Try.new()
    address = await page.address(attempt, _redirect(console))
    return Response(
        None, status_code=302, headers={"Location": address}, cookies=[_cookie(console, attempt.cookie, ATTEMPT_S)]
    )


@get("/session/oidc/callback", opt=PUBLIC, status_code=303)
async def come_back_from_provider(
    request: AnyRequest,
    console: Shared,
    page: Page,
    code: ProviderText = "",
    state_value: Annotated[str, QueryParameter(name="state", max_length=4096)] = "",
    error: ProviderText = "",
    iss: ProviderText = "",
) -> Response[None]:
    """The provider redirects browsers here with a code for the account that signed in."""
    _check_is_set(console)
    try:
        attempt = _attempt(request, console, state_value, iss, error)
        name, address = f"oidc {attempt.state}", (request.scope.get("client") or ("",))[0]
        # Each code costs a request to the provider.
        console.limits.check(name, address)
        claims = await page.redeem(code, attempt, _redirect(console))
        console.limits.record_success(name, address)
        _, cookie = await start_session(request, console, await _person(console, claims))
    except TidegateError as e:
        SIGN_INS.labels("refused").inc()
        return _failed(request, console, e)
    home = f"{console.settings.sub_path}/"
    return Response(None, status_code=303, headers={"Location": home}, cookies=[cookie, _cookie(console, "", 0)])


def _check_is_set(console: Console) -> None:
    """Raises Refused if no provider is set."""
    if not console.settings.console_oidc_issuer:
        raise Refused(404, "nobody signs in by an organisation here: CONSOLE_OIDC_ISSUER is not set")


def _attempt(request: AnyRequest, console: Console, state: str, iss: str, error: str) -> Try:
    """Return the attempt that this browser began and that this answer belongs to. Raises Refused."""
    attempt = Try.read(request.cookies.get(COOKIE, ""))
    if attempt is None or not attempt.is_of(state):
        raise Refused(400, "this was not begun in this browser, or too long ago: begin again")
    if iss and iss != console.settings.console_oidc_issuer:
        raise Refused(400, "this is the answer of another provider of accounts: begin again")
    if error:
        raise Refused(403, f"the provider of accounts lets nobody in: {plain(error)[:200]}")
    return attempt


async def _person(console: Console, claims: dict[str, Any]) -> str:
    """Store the person who signed in, and return their name. Raises Refused."""
    settings, people = console.settings, console.people
    id = accounts.id_of(settings.console_oidc_issuer, claims)
    name = people.of_provider(id) or accounts.name_of(settings, claims)
    before, revision = people.person(name), people.bucket.revision(person_key(name))
    after = accounts.record_of(before, id, name, accounts.role_of(settings, claims), time.time())
    if after != before:
        asker = Asker(name=name, role=after.role)
        await console.audit(asker, "person.provider", person=name, is_new=before is None, role=after.role)
        await people.put(name, after, revision)
    return name


def _failed(request: AnyRequest, console: Console, error: TidegateError) -> Response[Any]:
    """Return the error: a page for browsers, otherwise JSON."""
    status = error.status if isinstance(error, Refused) else 502
    cookies = [_cookie(console, "", 0)]
    if "text/html" not in request.headers.get("accept", ""):
        return Response({"error": str(error)}, status_code=status, media_type="application/json", cookies=cookies)
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Tidegate</title></head><body>'
        f'<p>{html.escape(str(error))}.</p><p><a href="{html.escape(console.settings.sub_path)}/">Sign in</a></p>'
        "</body></html>"
    )
    return Response(page, status_code=status, media_type="text/html", cookies=cookies)


def _redirect(console: Console) -> str:
    return f"{console.settings.console_url.rstrip('/')}{PATH}/callback"


def _cookie(console: Console, value: str, age_s: int) -> Cookie:
    """Return the attempt's cookie. It is not strict: it must come back through a link of the provider's site."""
    return Cookie(
        COOKIE,
        value=value,
        path=f"{console.settings.sub_path}{PATH}",
        max_age=age_s,
        httponly=True,
        samesite="lax",
        secure=console.settings.is_https,
    )


ROUTES = [sign_in_by_provider, come_back_from_provider]
