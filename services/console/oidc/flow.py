"""One try to sign in, as the browser keeps it from its beginning to its end. Pure.

state: comes back with the answer: it was this browser that began. nonce: is in the provider's token: it is of this try.
verifier: shows the provider that whoever redeems the code is who began (PKCE).
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

# So long somebody may take to sign in at the provider.
KEPT_S = 600
_COOKIE = re.compile(rf"[A-Za-z0-9_-]{{43}}\.[A-Za-z0-9_-]{{43}}\.[A-Za-z0-9_-]{{43}}{END}")


class Try(NamedTuple):
    """See the module."""

    state: str
    nonce: str
    verifier: str

    @classmethod
    def new(cls) -> Try:
        return cls(*(secrets.token_urlsafe(32) for _ in range(3)))

    @classmethod
    def read(cls, cookie: str) -> Try | None:
        """Of a cookie; None where it is none of ours."""
        return cls(*cookie.split(".")) if _COOKIE.match(cookie) else None

    @property
    def cookie(self) -> str:
        return ".".join(self)

    def is_of(self, state: str) -> bool:
        return hmac.compare_digest(self.state.encode(), state.encode())

    def address(self, endpoint: str, *, client: str, scopes: str, redirect: str) -> str:
        """Where the browser signs in."""
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
