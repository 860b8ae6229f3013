"""A small OpenID Connect provider: discovery, keys and codes over HTTP on this machine, with real RS256 signatures.

Example:
    async with OidcProvider("console", "s3cret") as provider:
        provider.claims = {"sub": "1", "preferred_username": "anna"}     # the next person to sign in
        provider.twist = {"nonce": "another"}                            # what its next tokens say falsely
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import time
from functools import cache
from typing import Any
from urllib.parse import parse_qs, unquote_plus, urlencode, urlsplit

from aiohttp import BasicAuth, web
from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey

from shared.runtime.ports import free_port


@cache
def _key() -> RSAKey:
    """One key for all providers of a process: a key costs 0.1 s of CPU, and no test needs two."""
    return RSAKey.generate_key(2048, {"kid": "first", "use": "sig"})


class OidcProvider:
    """See the module. client, secret: of its only client. twist: claims in place of right ones; `alg` is
    the signature's. codes: the issued ones that are not redeemed.
    """

    def __init__(self, client: str, secret: str) -> None:
        self.client, self.secret = client, secret
        self.issuer = f"http://127.0.0.1:{free_port(0)}"
        self.key = _key()
        self.signs_with = self.key
        self.claims: dict[str, Any] = {}
        self.twist: dict[str, Any] = {}
        self.says: dict[str, Any] = {}
        self.codes: dict[str, dict[str, str]] = {}

    async def __aenter__(self) -> OidcProvider:
        app = web.Application()
        app.add_routes(
            [
                web.get("/.well-known/openid-configuration", self._discovery),
                web.get("/keys", self._keys),
                web.get("/authorize", self._authorize),
                web.post("/token", self._token),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", urlsplit(self.issuer).port).start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _discovery(self, request: web.Request) -> web.Response:
        fields = {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/keys",
            "id_token_signing_alg_values_supported": ["RS256"],
        }
        return web.json_response(fields | self.says)

    async def _keys(self, request: web.Request) -> web.Response:
        return web.json_response({"keys": [self.key.as_dict(private=False)]})

    async def _authorize(self, request: web.Request) -> web.Response:
        question = dict(request.query)
        assert (question["response_type"], question["client_id"]) == ("code", self.client)
        assert question["code_challenge_method"] == "S256" and "openid" in question["scope"].split()
        code = secrets.token_urlsafe(16)
        self.codes[code] = question
        query = urlencode({"code": code, "state": question["state"]})
        return web.Response(status=302, headers={"Location": f"{question['redirect_uri']}?{query}"})

    async def _token(self, request: web.Request) -> web.Response:
        body = {name: values[0] for name, values in parse_qs(await request.text()).items()}
        auth = BasicAuth.decode(request.headers.get("Authorization", ""))
        query = self.codes.pop(body.get("code", ""), None)
        digest = hashlib.sha256(body.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        fits = query and (query["code_challenge"], query["redirect_uri"]) == (challenge, body.get("redirect_uri"))
        if (
            (unquote_plus(auth.login), unquote_plus(auth.password)) != (self.client, self.secret)
            or not query
            or not fits
        ):
            return web.json_response({"error": "invalid_grant"}, status=400)
        return web.json_response({"access_token": "x", "token_type": "Bearer", "id_token": self._signed(query)})

    def _signed(self, request: dict[str, str]) -> str:
        now = int(time.time())
        claims = {"iss": self.issuer, "aud": self.client, "iat": now, "exp": now + 300, "nonce": request["nonce"]}
        claims |= self.claims | self.twist
        match claims.pop("alg", "RS256"):
            case "none":
                parts = ({"alg": "none", "typ": "JWT"}, claims)
                return ".".join([*(_part(part) for part in parts), ""])
            case "HS256":
                return jwt.encode({"alg": "HS256", "kid": "first"}, claims, OctKey.import_key(self.secret * 8))
            case alg:
                return jwt.encode({"alg": alg, "kid": self.signs_with.kid}, claims, self.signs_with)


def _part(part: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()
