"""Signing in by an organisation's accounts, against a provider over HTTP, and attacks on the way there and back."""

from __future__ import annotations

import asyncio
import time
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import RSAKey
from nats.aio.client import Client

from services.console.accounts.records import EXPECTED
from services.console.oidc.flow import Try
from services.console.oidc.routes import COOKIE
from services.console.settings import ConsoleSettings
from shared.runtime.errors import SettingError
from tests.support.console.oidc import ANNA, GROUPS, both
from tests.support.console.people import TRUSTED, console_on
from tests.support.waiting import patience_s
from tidegate.local.server import NatsServer


async def begin(browser: httpx.AsyncClient) -> str:
    """The address of the provider's redirect back."""
    there = await browser.get("session/oidc")
    assert there.status_code == 302, there.text
    async with httpx.AsyncClient(verify=TRUSTED) as outside:
        back = await outside.get(there.headers["location"])
    assert back.status_code == 302, back.text
    return str(back.headers["location"])


async def sign_in(browser: httpx.AsyncClient) -> httpx.Response:
    return await browser.get(await begin(browser))


async def test_a_group_of_the_provider_gives_a_role(server: NatsServer, admin: Client) -> None:
    async with both(server, admin) as (provider, console):
        await console.person("root", "admin", sees_all=True)
        browser = console.nobody()
        assert (await browser.get("session")).json() == {"me": None, "openid": True}
        answer = await sign_in(browser)
        assert (answer.status_code, answer.headers["location"]) == (303, "/")
        me = (await browser.get("me")).json()
        assert (me["name"], me["role"], me["cameras"]) == ("anna", "viewer", []), "an admin says what she may see"
        provider.claims["groups"] = ["staff", "it"]
        await sign_in(browser)
        me = (await browser.get("me")).json()
        assert (me["role"], me["cameras"]) == ("admin", None)
        other = console.nobody()
        provider.claims = {"sub": "id-2", "preferred_username": "ben@example.org", "groups": "night"}
        await sign_in(other)
        assert ((await other.get("me")).json()["name"], (await other.get("me")).json()["role"]) == (
            "ben-example-org",
            "operator",
        )
        provider.claims = dict(ANNA)
        await sign_in(browser)
        found = (await browser.get("me")).json()
        assert (found["role"], found["cameras"]) == ("viewer", []), "who is no admin any more does not see all"


@pytest.mark.parametrize(
    "twist",
    [
        {"nonce": "another"},
        {"nonce": None},
        {"nonce": ["NONCE"]},
        {"aud": "another"},
        {"aud": ["tidegate", "another"]},
        {"aud": ["tidegate", "another"], "azp": "another"},
        {"azp": "another"},
        {"iss": "https://evil.example"},
        {"exp": -600},
        {"exp": None},
        {"iat": 6000},
        {"nbf": 6000},
        {"sub": None},
        {"sub": ""},
        {"sub": "x" * 300},
        {"sub": ["id-1"]},
        {"alg": "none"},
        {"alg": "HS256"},
    ],
    ids=lambda twist: repr(twist)[:40],
)
async def test_an_invalid_token_signs_nobody_in(server: NatsServer, admin: Client, twist: dict[str, Any]) -> None:
    async with both(server, admin) as (provider, console):
        browser = console.nobody()
        back = await begin(browser)
        if twist == {"nonce": ["NONCE"]}:
            twist = {"nonce": [next(iter(provider.codes.values()))["nonce"]]}
        # Times in `twist` are relative to now.
        provider.twist = {k: int(time.time()) + v if isinstance(v, int) else v for k, v in twist.items()}
        answer = await browser.get(back)
        assert answer.status_code == 401, answer.text
        assert "set-cookie" in answer.headers and "tidegate_session" not in answer.headers["set-cookie"]
        assert (await browser.get("me")).status_code == 401
        provider.twist = {}
        assert (await sign_in(browser)).status_code == 303, "the next try is a new one"


async def test_another_key_signs_nobody_in(server: NatsServer, admin: Client) -> None:
    async with both(server, admin) as (provider, console):
        for kid in ("first", "second"):
            provider.signs_with = RSAKey.generate_key(2048, {"kid": kid})
            assert (await sign_in(console.nobody())).status_code == 401


async def test_a_code_is_redeemed_once_and_by_its_browser(server: NatsServer, admin: Client) -> None:
    async with both(server, admin) as (_, console):
        browser, other = console.nobody(), console.nobody()
        back = await begin(browser)
        began = browser.cookies[COOKIE]
        assert (await other.get(back)).status_code == 400, "another browser has not begun this"
        await other.get("session/oidc")
        assert (await other.get(back)).status_code == 400, "nor one that has begun something else"
        assert (await browser.get(back)).status_code == 303
        assert (await browser.get(back)).status_code == 400, "the try is over"
        thief = console.nobody()
        thief.cookies.set(COOKIE, began)
        assert (await thief.get(back)).status_code == 502, "the provider takes a code once"
        # PKCE: the code of one try with the verifier of another.
        stolen = parse_qs(urlsplit(await begin(browser)).query)["code"][0]
        mine = parse_qs(urlsplit(await begin(other)).query)["state"][0]
        assert (await other.get("session/oidc/callback", params={"code": stolen, "state": mine})).status_code == 502
        assert (await other.get("me")).status_code == 401


async def test_a_refusal_of_the_provider_is_reported(server: NatsServer, admin: Client) -> None:
    async with both(server, admin) as (provider, console):
        browser = console.nobody(accept="text/html")
        state = parse_qs(urlsplit(await begin(browser)).query)["state"][0]
        query = {"state": state, "error": "<script>access_denied</script>"}
        answer = await browser.get("session/oidc/callback", params=query)
        assert answer.status_code == 403 and "&lt;script&gt;access_denied" in answer.text
        assert "<script>" not in answer.text
        state = parse_qs(urlsplit(await begin(browser)).query)["state"][0]
        query = {"state": state, "code": "x", "iss": "https://evil.example"}
        assert (await browser.get("session/oidc/callback", params=query)).status_code == 400
        provider.claims["groups"] = ["visitors"]
        refused = await sign_in(browser)
        assert refused.status_code == 403 and "in no group" in refused.text


async def test_a_name_alone_matches_no_account(server: NatsServer, admin: Client) -> None:
    """A name that a person chose at the provider does not make them the existing account of that name."""
    async with both(server, admin) as (provider, console):
        root = await console.person("root", "admin", sees_all=True)
        provider.claims = {"sub": "evil", "preferred_username": "root", "groups": ["it"]}
        refused = await sign_in(console.nobody())
        assert refused.status_code == 403 and "somebody else is called 'root'" in refused.text
        answer = await root.put("people/anna", json={"role": "operator", "by_provider": True})
        assert (answer.json()["by_provider"], answer.json()["provider_known"]) == (True, False)
        provider.claims = {**ANNA, "groups": ["guards"]}
        assert (await sign_in(console.nobody())).status_code == 303
        provider.claims["sub"] = "id-of-another-anna"
        assert (await sign_in(console.nobody())).status_code == 403
        provider.claims = {**ANNA, "preferred_username": "anna-maria", "groups": ["guards"]}
        browser = console.nobody()
        await sign_in(browser)
        assert (await browser.get("me")).json()["name"] == "anna", "she is who she was, whatever she is called now"
        assert (await root.put("people/anna", json={"role": "operator", "disabled": True})).status_code == 200
        assert (await browser.get("me")).status_code == 401
        assert (await sign_in(browser)).status_code == 403


async def test_without_groups_an_admin_admits_people(server: NatsServer, admin: Client) -> None:
    no = dict.fromkeys(GROUPS, "")
    async with both(server, admin, **no) as (_, console):
        assert "ask an admin to add 'anna'" in (await sign_in(console.nobody())).text
        await console.person("anna", "operator", cameras=["lobby"], provider=EXPECTED)
        browser = console.nobody()
        await sign_in(browser)
        me = (await browser.get("me")).json()
        assert (me["role"], me["cameras"]) == ("operator", ["lobby"])


async def test_a_provider_with_other_endpoints_is_not_used(server: NatsServer, admin: Client) -> None:
    async with both(server, admin) as (provider, console):
        for says in ({"issuer": "https://evil.example"}, {"token_endpoint": "http://10.0.0.1/token"}, {"jwks_uri": 7}):
            provider.says = says
            answer = await console.nobody().get("session/oidc")
            assert answer.status_code == 502 and "console's log" in answer.json()["error"]
        provider.says = {}
        async with asyncio.timeout(patience_s()):
            while (await console.nobody().get("session/oidc")).status_code != 302:
                await asyncio.sleep(0.2)


async def test_without_a_provider_its_routes_are_not_found(server: NatsServer, admin: Client) -> None:
    async with console_on(server, admin) as console:
        assert (await console.nobody().get("session")).json()["openid"] is False
        for path in ("session/oidc", "session/oidc/callback"):
            assert (await console.nobody().get(path)).status_code == 404


async def test_cookies_are_limited_to_the_sign_in_path(server: NatsServer, admin: Client) -> None:
    async with both(server, admin, console_url="https://tide.example.org/console") as (_, console):
        answer = await httpx.AsyncClient().get(f"{console.url.replace('https:', 'http:')}api/v1/session/oidc")
        cookie = answer.headers["set-cookie"].lower()
        assert "path=/console/api/v1/session/oidc" in cookie
        assert all(word in cookie for word in ("httponly", "secure", "samesite=lax"))
        query = parse_qs(urlsplit(answer.headers["location"]).query)
        assert query["redirect_uri"] == ["https://tide.example.org/console/api/v1/session/oidc/callback"]


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({"console_oidc_issuer": "http://id.example.org"}, "CONSOLE_OIDC_ISSUER"),
        ({"console_oidc_issuer": "https://id.example.org/?x"}, "CONSOLE_OIDC_ISSUER"),
        ({"console_oidc_issuer": "https://id.example.org"}, "CONSOLE_OIDC_CLIENT_ID"),
        ({"console_oidc_issuer": "https://id.example.org", "console_oidc_client_id": "x"}, "CONSOLE_URL"),
    ],
)
def test_incomplete_settings_name_what_is_missing(settings: dict[str, str], names: str) -> None:
    with pytest.raises(SettingError, match=names):
        msgspec.convert(settings, ConsoleSettings)


@given(st.text(max_size=200))
def test_a_cookie_is_canonical_or_refused(text: str) -> None:
    assert Try.read(text) is None or Try.read(text).cookie == text  # type: ignore[union-attr]
    one = Try.new()
    assert Try.read(one.cookie) == one and not one.is_of(text)
