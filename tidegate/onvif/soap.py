"""A SOAP 1.2 request with a login, and the fault of an answer. Pure.

The login is WS-Security's UsernameToken with a digest (OASIS, UsernameToken Profile 1.0, 3.1): base64(SHA-1(nonce +
created + password)). A listener does not read the password, and can guess it offline.
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
from xml.sax.saxutils import escape

from tidegate.onvif.elements import Element, parse
from tidegate.onvif.values import BadAnswer, Login, NotAuthorized, OnvifError, short

_WSSE = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss"
_ENVELOPE = (
    '<?xml version="1.0" encoding="UTF-8"?>'
    '<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope">{header}<s:Body>{body}</s:Body></s:Envelope>'
)
_SECURITY = (
    f'<s:Header><w:Security s:mustUnderstand="1" xmlns:w="{_WSSE}-wssecurity-secext-1.0.xsd" '
    f'xmlns:u="{_WSSE}-wssecurity-utility-1.0.xsd"><w:UsernameToken><w:Username>{{user}}</w:Username>'
    f'<w:Password Type="{_WSSE}-username-token-profile-1.0#PasswordDigest">{{digest}}</w:Password>'
    f'<w:Nonce EncodingType="{_WSSE}-soap-message-security-1.0#Base64Binary">{{nonce}}</w:Nonce>'
    "<u:Created>{created}</u:Created></w:UsernameToken></w:Security></s:Header>"
)
REFUSED = "it wants a login, or refuses this one"
# Parts of ONVIF's and WS-Security's codes, in lower case, for a missing or wrong login.
_UNAUTHORIZED = ("notauthorized", "unauthorized", "failedauthentication", "invalidsecuritytoken")


def envelope(body: str, login: Login | None, nonce: bytes, now: dt.datetime) -> bytes:
    """Return a request. nonce: 16 random bytes, used once. now: by the device's clock."""
    header = ""
    if login:
        created = now.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
        header = _SECURITY.format(
            user=escape(login.user),
            digest=digest(nonce, created, login.password),
            nonce=base64.b64encode(nonce).decode(),
            created=created,
        )
    return _ENVELOPE.format(header=header, body=body).encode()


def digest(nonce: bytes, created: str, password: str) -> str:
    """Return the digest of a UsernameToken."""
    # The protocol sets SHA-1.
    found = hashlib.sha1(nonce + created.encode() + password.encode(errors="surrogateescape"))  # noqa: S324
    return base64.b64encode(found.digest()).decode()


def body(data: bytes, status: int, operation: str) -> Element:
    """Return the answer to an operation. Raises NotAuthorized for a refused login, else OnvifError."""
    if status in (401, 403):
        raise NotAuthorized(REFUSED)
    try:
        root = parse(data)
    except BadAnswer:
        if status != 200:
            raise OnvifError(f"it answers {operation} with HTTP status {status}") from None
        raise
    if fault := root.first("Body", "Fault"):
        raise _error(fault, operation)
    found = root.first("Body", f"{operation}Response")
    if found is None:
        raise BadAnswer(f"its answer to {operation} is none of ONVIF (HTTP status {status})")
    return found


def _error(fault: Element, operation: str) -> OnvifError:
    reason = short(fault.text("Reason", "Text") or fault.text("faultstring")) or "no reason"
    # Some devices have the code in their reason alone.
    codes = (
        fault.text("Code", "Subcode", "Value"),
        fault.text("Code", "Subcode", "Subcode", "Value"),
        fault.text("faultcode"),
        reason,
    )
    words = ["".join(code.split()).lower() for code in codes]
    if any(part in word for part in _UNAUTHORIZED for word in words):
        return NotAuthorized(REFUSED)
    return OnvifError(f"it refuses {operation}: {reason}")
