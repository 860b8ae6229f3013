"""The signature of Standard Webhooks 1.0.0, symmetric. Pure.

Source: https://github.com/standard-webhooks/standard-webhooks, spec/standard-webhooks.md, "Signature scheme" and
"Webhook headers".
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

PREFIX = "whsec_"
# "At least 24 bytes (192 bits, 512 maximum)".
LEAST_BYTES, MOST_BYTES = 24, 64


def key_of(secret: str) -> bytes:
    """Return the key of a secret: the decoded text after `whsec_`, or the bytes of a plain text; empty for none.

    Raises ValueError, without the secret.
    """
    if not secret.startswith(PREFIX):
        return secret.encode()
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"what follows {PREFIX} is not base64") from None
    if not LEAST_BYTES <= len(key) <= MOST_BYTES:
        raise ValueError(f"what follows {PREFIX} has {len(key)} bytes, and has to have {LEAST_BYTES} to {MOST_BYTES}")
    return key


def sign(key: bytes, id: str, timestamp: int, body: bytes) -> str:
    """Return `v1,<base64>` of HMAC-SHA256 over `id.timestamp.body`. timestamp: of the try, Unix seconds."""
    digest = hmac.new(key, f"{id}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"


def headers(key: bytes, id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """Return the headers of one try. Without a key there is no signature."""
    out = {"webhook-id": id, "webhook-timestamp": str(timestamp)}
    return out | {"webhook-signature": sign(key, id, timestamp, body)} if key else out
