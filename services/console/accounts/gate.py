"""Authenticates the user and authorizes by role. Every route passes here, those of WebSockets too.

A browser has a cookie, which other sites' pages could make it send. So a change needs the session's CSRF token in a
header as well, and a browser's Origin must be this console. A program has a token.
"""

from __future__ import annotations

import ipaddress
import re
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import urlsplit

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler

from services.console.accounts.authentication import Authenticator
from services.console.settings import ConsoleSettings
from services.console.web.asker import Asker
from services.console.web.needs import ROLE
from services.console.web.refused import Refused
from shared.contract.names import TOKEN

COOKIE = "tidegate_session"
CSRF = "x-csrf-token"
ASKER = "asker"
_SAFE = ("GET", "HEAD", "OPTIONS")

Connection = ASGIConnection[Any, Any, Any, Any]


class Gate:
    """Checks each request. One for the application."""

    def __init__(self, settings: ConsoleSettings, authenticator: Authenticator) -> None:
        self._settings = settings
        self._authenticator = authenticator

    def check(self, connection: Connection, handler: BaseRouteHandler) -> None:
        """Store the user in the connection's state. Raises Refused."""
        if ROLE not in handler.opt:
            raise Refused(405, "no other site's page may use this")
        role = handler.opt[ROLE]
        if role is None:
            self._check_origin(connection)
            connection.scope["state"][ASKER] = self._asker(connection)
            return
        asker = self._asker(connection)
        if asker is None:
            raise Refused(401, "sign in first, or send a token: Authorization: Bearer tgc_…", WWW_Authenticate="Bearer")
        if asker.via != "token":
            self._check_origin(connection)
        if asker.via == "session" and _method(connection) not in (*_SAFE, ""):
            _check_csrf(connection, asker)
        if not asker.may(role):
            article = "an" if asker.role[0] in "aeiou" else "a"
            raise Refused(403, f"this needs the role {role}, and {asker.name} is {article} {asker.role}: ask an admin")
        connection.scope["state"][ASKER] = asker

    def _asker(self, connection: Connection) -> Asker | None:
        """Return the user: by a token, else by a cookie, else by a proxy's header."""
        scheme, _, secret = connection.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return self._authenticator.of_token(secret.strip())
        if cookie := session_cookie(connection):
            return self._authenticator.of_session(cookie)
        return self._of_proxy(connection)

    def _of_proxy(self, connection: Connection) -> Asker | None:
        header = self._settings.console_proxy_header
        if not header or not self._is_proxy(connection):
            return None
        # Of two headers of this name, one is not the proxy's.
        values = connection.headers.getall(header.lower(), [])
        return self._authenticator.of_proxy(values[0]) if len(values) == 1 and re.search(TOKEN, values[0]) else None

    def _is_proxy(self, connection: Connection) -> bool:
        try:
            address = ipaddress.ip_address((connection.scope.get("client") or ("",))[0])
        except ValueError:
            return False
        return any(address in network for network in self._settings.proxies)

    def _check_origin(self, connection: Connection) -> None:
        """Raises Refused if the Origin is another site."""
        if _method(connection) in _SAFE:
            return
        origin = connection.headers.get("origin")
        if origin is None:
            return
        ours = {connection.headers.get("host", ""), urlsplit(self._settings.console_url).netloc}
        if urlsplit(origin).netloc not in ours - {""}:
            raise Refused(403, "another site's page asks for this: open the console itself, or set CONSOLE_URL")


def _method(connection: Connection) -> str:
    """Return the HTTP method; empty for a WebSocket."""
    return str(connection.scope.get("method", ""))


def session_cookie(connection: Connection) -> str:
    """Return the session's secret; empty if there is none."""
    try:
        found = SimpleCookie(connection.headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return found.value if found else ""


def _check_csrf(connection: Connection, asker: Asker) -> None:
    if connection.headers.get(CSRF, "") != asker.csrf:
        raise Refused(403, "the page is of an earlier sign-in: reload it")
