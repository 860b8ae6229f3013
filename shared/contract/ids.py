"""`Nats-Msg-Id` that nobody else can foretell: who published one ahead would have the real message dropped as a repeat.

The server drops by this id alone, whatever the subject. So what goes on the wire is an HMAC of the message's own id,
under a key that the replicas of a service share and nobody else has. Pure.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable

HEADER = "Nats-Msg-Id"
# A file beside that of the password, by its name and this: the key, once the password is a new one.
KEY_FILE = ".msg-id-key"
# 128 bits: more than can be guessed in any stream's window.
_BYTES = 16
# Of an id on the wire, in characters.
LENGTH = 22

Seal = Callable[[str], str]


class Sealed(str):
    """An id as a stored message has it. It goes on the wire as it is, for who moves messages from stream to stream."""


# Of a message without an id.
NONE = Sealed()


def sealing(secret: str) -> Seal:
    """How ids become ids on the wire. secret: what the replicas share; a server without logins has none."""
    key = hmac.digest(secret.encode(), b"tidegate Nats-Msg-Id", hashlib.sha256)

    def seal(id: str) -> str:
        digest = hmac.digest(key, id.encode(), hashlib.sha256)[:_BYTES]
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()

    return seal
