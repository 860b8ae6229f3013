"""What people authenticate with: sessions, tokens for programs, and one-time links. See `records`."""

from __future__ import annotations

import asyncio
import time

import msgspec

from services.console.accounts.records import (
    LINK_S,
    TOKEN_PREFIX,
    ApiToken,
    Link,
    Owned,
    Session,
    hashed,
    new_link,
    new_secret,
)
from services.console.links.mirrored_bucket import Changed, MirroredBucket
from services.console.web.asker import Role
from services.console.web.refused import Refused


class Credentials:
    """Credentials in the bucket. session_s: lifetime of a session. Each write raises as `MirroredBucket.write` does."""

    def __init__(self, bucket: MirroredBucket, session_s: float) -> None:
        self._bucket = bucket
        self._session_s = session_s

    async def begin_session(self, name: str) -> str:
        """Return the cookie's secret of a new session, whatever cookie was sent."""
        now = time.time()
        session = Session(person=name, csrf=new_secret(), began=now, expires=now + self._session_s)
        secret = new_secret()
        await self._bucket.write(hashed("session", secret), msgspec.json.encode(session), ttl_s=self._session_s)
        return secret

    async def end_sessions(self, name: str, *, but: str) -> None:
        """End a person's sessions, but for the one of this key."""
        await asyncio.gather(*(self._bucket.remove(key) for key in self._keys(name, "session") if key != but))

    def sessions(self, name: str) -> list[Session]:
        return [found for key in self._keys(name, "session") if (found := self._bucket.read(key, Session))]

    async def new_token(self, token: ApiToken) -> tuple[str, str]:
        """Store a new token, and return (its secret, its key)."""
        secret = new_secret(TOKEN_PREFIX)
        key = hashed("token", secret)
        await self._bucket.write(key, msgspec.json.encode(token), ttl_s=max(1.0, token.expires - time.time()))
        return secret, key

    def tokens(self, name: str) -> dict[str, ApiToken]:
        """Return a person's tokens by key."""
        found = {key: self._bucket.read(key, ApiToken) for key in self._keys(name, "token")}
        return {key: token for key, token in found.items() if token}

    async def new_link(self, name: str, role: Role) -> tuple[str, float]:
        """Return (the token of a new link, its expiry in Unix seconds)."""
        secret, key, entry = new_link(name, role)
        await self._bucket.write(key, entry, ttl_s=LINK_S)
        return secret, time.time() + LINK_S

    async def use_link(self, secret: str) -> Link:
        """Use a link once. Raises Refused."""
        key = hashed("link", secret)
        link = self._bucket.read(key, Link)
        refusal = Refused(401, "this link has been used, or is over: 'tidegate console link' prints another")
        if link is None or link.expires < time.time():
            raise refusal
        try:
            await self._bucket.remove(key, revision=self._bucket.revision(key))
        except Changed:
            raise refusal from None
        return link

    async def sign_out(self, name: str, *, tokens: bool = False) -> None:
        """End all of a person's sessions and links, and with `tokens` their tokens."""
        kinds = ("session", "link", "token") if tokens else ("session", "link")
        await asyncio.gather(*(self._bucket.remove(key) for key in self._keys(name, *kinds)))

    def _keys(self, name: str, *kinds: str) -> list[str]:
        found = [key for kind in kinds for key in self._bucket.keys(kind)]
        return [key for key in found if (entry := self._bucket.read(key, Owned)) and entry.person == name]
