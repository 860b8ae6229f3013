"""The organisation's OpenID provider: its metadata, its keys, and the claims of a code."""

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
from services.console.settings import ConsoleSettings, is_secure_address
from services.console.web.refused import Refused
from shared.runtime.plain import plain
from shared.runtime.redact import redact
from shared.runtime.telemetry import logger

TIMEOUT_S = 10.0
MOST_BYTES = 1024 * 1024
# Providers rotate keys. A token signed by an unknown key fetches them again, at most every `_REFRESH_S`.
_MAX_AGE_S = 3600.0
_REFRESH_S = 30.0
# After a failure requests fail immediately for this time, then the provider is tried again.
_RETRY_S = 3.0
# Tolerated clock skew.
LEEWAY_S = 60
# Signatures that only the provider can make: unsigned tokens and those by a shared secret are refused.
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")

_UNAVAILABLE = Refused(
    502, "the provider of accounts can't be asked, or refuses: begin again, or see the console's log"
)

T = TypeVar("T")


class _Metadata(msgspec.Struct, frozen=True, kw_only=True):
    """A provider's metadata, by OpenID Connect Discovery."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic",)


class _Tokens(msgspec.Struct, frozen=True):
    id_token: str


class _Discovery(msgspec.Struct, frozen=True):
    metadata: _Metadata
    keys: KeySet
    at: float


class Provider:
    """The client of the provider. One for the process."""

    def __init__(self, settings: ConsoleSettings) -> None:
        self._settings = settings
        self._lock = asyncio.Lock()
        self._cached: _Discovery | None = None
        self._unavailable_at = -math.inf

    async def address(self, attempt: Try, redirect: str) -> str:
        """Return the address at which a browser signs in. Raises Refused."""
        metadata = (await self._discover()).metadata
        client, scopes = self._settings.console_oidc_client_id, self._settings.console_oidc_scopes
        return attempt.address(metadata.authorization_endpoint, client=client, scopes=scopes, redirect=redirect)

    async def redeem(self, code: str, attempt: Try, redirect: str) -> dict[str, Any]:
        """Return the claims of the account that signed in. Raises Refused."""
        discovery = await self._discover()
        body = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect,
            "code_verifier": attempt.verifier,
        }
        tokens = await self._tokens(discovery.metadata, body)
        try:
            return self._claims(tokens.id_token, discovery.keys, attempt)
        except InvalidKeyIdError:
            pass
        except (JoseError, ValueError, TypeError, RecursionError) as e:
            raise _rejected(e) from None
        try:
            return self._claims(tokens.id_token, (await self._discover(_REFRESH_S)).keys, attempt)
        except (JoseError, ValueError, TypeError, RecursionError) as e:
            raise _rejected(e) from None

    def _claims(self, token: str, keys: KeySet, attempt: Try) -> dict[str, Any]:
        """Validate a token by OpenID Connect Core, 3.1.3.7. Raises JoseError, and other errors of its library."""
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

    async def _tokens(self, metadata: _Metadata, body: dict[str, str]) -> _Tokens:
        """Exchange a code for tokens. Raises Refused."""
        client, secret = self._settings.console_oidc_client_id, self._settings.console_oidc_client_secret
        auth: httpx.BasicAuth | None = None
        if secret and "client_secret_basic" in metadata.token_endpoint_auth_methods_supported:
            auth = httpx.BasicAuth(quote(client, safe=""), quote(secret, safe=""))
        else:
            body = {**body, "client_id": client, **({"client_secret": secret} if secret else {})}
        return await _read("POST", metadata.token_endpoint, _Tokens, data=body, auth=auth)

    async def _discover(self, age_s: float = _MAX_AGE_S) -> _Discovery:
        """Return the provider's metadata and keys, fetched again if older than `age_s`. Raises Refused."""
        async with self._lock:
            if self._cached and time.monotonic() - self._cached.at <= age_s:
                return self._cached
            if time.monotonic() - self._unavailable_at <= _RETRY_S:
                raise _UNAVAILABLE
            try:
                self._cached = await self._fetch()
            except Refused:
                self._unavailable_at = time.monotonic()
                raise
            return self._cached

    async def _fetch(self) -> _Discovery:
        issuer = self._settings.console_oidc_issuer
        metadata = await _read("GET", f"{issuer.rstrip('/')}/.well-known/openid-configuration", _Metadata)
        endpoints = (metadata.authorization_endpoint, metadata.token_endpoint, metadata.jwks_uri)
        if metadata.issuer != issuer or not all(map(is_secure_address, endpoints)):
            logger("console").error(
                "the provider is another than CONSOLE_OIDC_ISSUER", says=plain(metadata.issuer)[:200]
            )
            raise Refused(502, "the provider of accounts is not the one that is set: see the console's log")
        keys = await _read("GET", metadata.jwks_uri, dict)
        try:
            return _Discovery(metadata, KeySet.import_key_set(keys), time.monotonic())  # type: ignore[arg-type]
        except (JoseError, KeyError, ValueError, TypeError) as e:
            raise _unavailable(metadata.jwks_uri, e) from None


async def _read(method: str, url: str, kind: type[T], **more: Any) -> T:
    """Return an answer in JSON of at most 1 MB. Raises Refused."""
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
        raise _unavailable(url, e) from None


def _unavailable(url: str, error: Exception) -> Refused:
    """Log the error and return a refusal without it: the provider's answer may hold secrets that we sent."""
    logger("console").error(
        "the provider of accounts can't be used", url=redact(url), error=redact(plain(str(error)))[:500]
    )
    return _UNAVAILABLE


def _rejected(error: Exception) -> Refused:
    logger("console").error("what the provider of accounts says is not believed", error=redact(plain(str(error)))[:500])
    return Refused(401, "what the provider of accounts says is not to be believed: see the console's log")
