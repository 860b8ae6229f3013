"""One attempt to sign in, stored in the browser's cookie until it ends. Pure.

state: returned with the answer; proves that this browser began the attempt. nonce: in the provider's token; binds it to
this attempt. verifier: proves to the provider that the same client began and redeems the code (PKCE).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from typing import NamedTuple
from urllib.parse import urlencode

from shared.contract.names import END

# Seconds to sign in at the provider.
ATTEMPT_S = 600
_COOKIE = re.compile(rf"[A-Za-z0-9_-]{{43}}\.[A-Za-z0-9_-]{{43}}\.[A-Za-z0-9_-]{{43}}{END}")


class Try(NamedTuple):
    """An attempt to sign in: see the module."""

    state: str
    nonce: str
    verifier: str

    @classmethod
    def new(cls) -> Try:
        return cls(*(secrets.token_urlsafe(32) for _ in range(3)))

    @classmethod
    def read(cls, cookie: str) -> Try | None:
        """Return the attempt of a cookie; None if the cookie is invalid."""
        return cls(*cookie.split(".")) if _COOKIE.match(cookie) else None

    @property
    def cookie(self) -> str:
        return ".".join(self)

    def is_of(self, state: str) -> bool:
        return hmac.compare_digest(self.state.encode(), state.encode())

    def address(self, endpoint: str, *, client: str, scopes: str, redirect: str) -> str:
        """Return the address at which the browser signs in."""
        digest = hashlib.sha256(self.verifier.encode()).digest()
        query = {
            "response_type": "code",
            "client_id": client,
            "redirect_uri": redirect,
            "scope": scopes,
            "state": self.state,
            "nonce": self.nonce,
            "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
            "code_challenge_method": "S256",
        }
        return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(query)}"
