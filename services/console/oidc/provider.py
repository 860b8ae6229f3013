"""The organisation's provider of accounts: what it says of itself, its keys, and whom a code is of.

provider = Provider(settings)
address = await provider.address(attempt, redirect)
claims = await provider.redeem(code, attempt, redirect)
"""

from __future__ import annotations

import asyncio
import math
import time
from typing import Any, TypeVar
from urllib.parse import quote

import httpx
import msgspec
from joserfc import jwt
from joserfc.errors import InvalidKeyIdError, JoseError
from joserfc.jwk import KeySet

from services.console.oidc.flow import Try
from services.console.oidc.settings import OidcSettings, may_be_asked
from services.console.web.refused import Refused
from shared.runtime.plain import plain
from shared.runtime.redact import redact
from shared.runtime.telemetry import logger

TIMEOUT_S = 10.0
MOST_BYTES = 1024 * 1024
# A provider changes its keys now and then: a token by a key that is not known has them read again, so often at most.
_KEPT_S = 3600.0
_AGAIN_S = 30.0
# One that is away is asked again so soon: whoever comes meanwhile is told at once.
_AWAY_S = 3.0
# Clocks differ.
LEEWAY_S = 60
# Signatures that only the provider can make: none at all, or one by the secret that the console has too, is refused.
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")

_REFUSED = Refused(502, "the provider of accounts can't be asked, or refuses: begin again, or see the console's log")

T = TypeVar("T")


class _Said(msgspec.Struct, frozen=True, kw_only=True):
    """What a provider says of itself, by OpenID Connect Discovery."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic",)


class _Tokens(msgspec.Struct, frozen=True):
    id_token: str


class _Known(msgspec.Struct, frozen=True):
    said: _Said
    keys: KeySet
    at: float


class Provider:
    """See the module. One for the process."""

    def __init__(self, settings: OidcSettings) -> None:
        self._settings = settings
        self._turn = asyncio.Lock()
        self._known: _Known | None = None
        self._away_at = -math.inf

    async def address(self, attempt: Try, redirect: str) -> str:
        """Where a browser goes to sign in. Raises Refused."""
        said = (await self._knowing()).said
        client, scopes = self._settings.console_oidc_client_id, self._settings.console_oidc_scopes
        return attempt.address(said.authorization_endpoint, client=client, scopes=scopes, redirect=redirect)

    async def redeem(self, code: str, attempt: Try, redirect: str) -> dict[str, Any]:
        """What the provider says of whoever signed in there. Raises Refused."""
        known = await self._knowing()
        body = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect,
            "code_verifier": attempt.verifier,
        }
        tokens = await self._tokens(known.said, body)
        try:
            return self._claims(tokens.id_token, known.keys, attempt)
        except InvalidKeyIdError:
            pass
        except (JoseError, ValueError, TypeError, RecursionError) as e:
            raise _not_believed(e) from None
        try:
            return self._claims(tokens.id_token, (await self._knowing(_AGAIN_S)).keys, attempt)
        except (JoseError, ValueError, TypeError, RecursionError) as e:
            raise _not_believed(e) from None

    def _claims(self, token: str, keys: KeySet, attempt: Try) -> dict[str, Any]:
        """As OpenID Connect Core, 3.1.3.7, has it. Raises JoseError, and what its library lets through."""
        client = self._settings.console_oidc_client_id
        claims = jwt.decode(token, keys, algorithms=ALGORITHMS).claims
        jwt.JWTClaimsRegistry(
            leeway=LEEWAY_S,
            iss={"essential": True, "value": self._settings.console_oidc_issuer},
            aud={"essential": True, "value": client},
            sub={"essential": True},
            exp={"essential": True},
            iat={"essential": True},
            nonce={"essential": True, "value": attempt.nonce},
        ).validate(claims)
        party = claims.get("azp", client if isinstance(claims["aud"], str) or len(claims["aud"]) == 1 else None)
        if party != client or not isinstance(claims["nonce"], str) or not isinstance(claims["iss"], str):
            raise ValueError("it is for somebody else")
        return claims

    async def _tokens(self, said: _Said, body: dict[str, str]) -> _Tokens:
        """What the provider gives for a code. Raises Refused."""
        client, secret = self._settings.console_oidc_client_id, self._settings.console_oidc_client_secret
        auth: httpx.BasicAuth | None = None
        if secret and "client_secret_basic" in said.token_endpoint_auth_methods_supported:
            auth = httpx.BasicAuth(quote(client, safe=""), quote(secret, safe=""))
        else:
            body = {**body, "client_id": client, **({"client_secret": secret} if secret else {})}
        return await _read("POST", said.token_endpoint, _Tokens, data=body, auth=auth)

    async def _knowing(self, age_s: float = _KEPT_S) -> _Known:
        """What is known of the provider, if need be asked again. Raises Refused."""
        async with self._turn:
            if self._known and time.monotonic() - self._known.at <= age_s:
                return self._known
            if time.monotonic() - self._away_at <= _AWAY_S:
                raise _REFUSED
            try:
                self._known = await self._asked()
            except Refused:
                self._away_at = time.monotonic()
                raise
            return self._known

    async def _asked(self) -> _Known:
        issuer = self._settings.console_oidc_issuer
        said = await _read("GET", f"{issuer.rstrip('/')}/.well-known/openid-configuration", _Said)
        endpoints = (said.authorization_endpoint, said.token_endpoint, said.jwks_uri)
        if said.issuer != issuer or not all(map(may_be_asked, endpoints)):
            logger("console").error("the provider is another than CONSOLE_OIDC_ISSUER", says=plain(said.issuer)[:200])
            raise Refused(502, "the provider of accounts is not the one that is set: see the console's log")
        keys = await _read("GET", said.jwks_uri, dict)
        try:
            return _Known(said, KeySet.import_key_set(keys), time.monotonic())  # type: ignore[arg-type]
        except (JoseError, KeyError, ValueError, TypeError) as e:
            raise _away(said.jwks_uri, e) from None


async def _read(method: str, url: str, kind: type[T], **more: Any) -> T:
    """An answer in JSON, of no more than a MB. Raises Refused."""
    try:
        async with httpx.AsyncClient(timeout=TIMEOUT_S) as client, client.stream(method, url, **more) as answer:
            data = b""
            async for part in answer.aiter_bytes():
                data += part
                if len(data) > MOST_BYTES:
                    raise ValueError("it is too large")
            if answer.status_code != 200:
                raise ValueError(f"it answers {answer.status_code}: {plain(data[:500].decode(errors='replace'))}")
            return msgspec.json.decode(data, type=kind)
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, RecursionError, msgspec.DecodeError) as e:
        raise _away(url, e) from None


def _away(url: str, error: Exception) -> Refused:
    """What the provider says may hold what we sent it: it is for the log alone."""
    logger("console").error(
        "the provider of accounts can't be used", url=redact(url), error=redact(plain(str(error)))[:500]
    )
    return _REFUSED


def _not_believed(error: Exception) -> Refused:
    logger("console").error("what the provider of accounts says is not believed", error=redact(plain(str(error)))[:500])
    return Refused(401, "what the provider of accounts says is not to be believed: see the console's log")
