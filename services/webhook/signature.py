"""The signature of Standard Webhooks 1.0.0, symmetric. Pure.

Source: https://github.com/standard-webhooks/standard-webhooks, spec/standard-webhooks.md, "Signature scheme" and
"Webhook headers".
"""

from __future__ import annotations

import base64
import hashlib
import hmac


def sign(key: bytes, id: str, timestamp: int, body: bytes) -> str:
    """Return `v1,<base64>` of HMAC-SHA256 over `id.timestamp.body`. timestamp: of the try, Unix seconds."""
    digest = hmac.new(key, f"{id}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"


def headers(key: bytes, id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """Return the headers of one try. Without a key there is no signature."""
    out = {"webhook-id": id, "webhook-timestamp": str(timestamp)}
    return out | {"webhook-signature": sign(key, id, timestamp, body)} if key else out
