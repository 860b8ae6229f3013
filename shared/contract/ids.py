"""Unpredictable `Nats-Msg-Id`: publishing a predicted one ahead would drop the real message as a repeat.

The server deduplicates by this id alone, whatever the subject. So the id on the wire is an HMAC of the message's own
id, under a key that only the replicas of a service share. Pure.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable

HEADER = "Nats-Msg-Id"
# The suffix of the key's file, next to the password's file: it holds the key after a password change.
KEY_FILE = ".msg-id-key"
# 128 bits: more than can be guessed within any stream's window.
_BYTES = 16
# The length of an id on the wire, in characters.
LENGTH = 22

Seal = Callable[[str], str]


class Sealed(str):
    """An id from a stored message. It goes on the wire unchanged, for moving messages between streams."""


# The id of a message without one.
NONE = Sealed()


def sealing(secret: str) -> Seal:
    """Return the function from ids to ids on the wire. secret: shared by the replicas; a server without logins has
    none.
    """
    key = hmac.digest(secret.encode(), b"tidegate Nats-Msg-Id", hashlib.sha256)

    def seal(id: str) -> str:
        digest = hmac.digest(key, id.encode(), hashlib.sha256)[:_BYTES]
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()

    return seal
