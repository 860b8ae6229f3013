"""A console whose people sign in at a provider of OpenID Connect."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from nats.aio.client import Client

from shared.runtime.ports import free_port
from tests.support.console.people import Running, console_on
from tests.support.servers.oidc_provider import OidcProvider
from tidegate.local.server import NatsServer

ANNA = {"sub": "id-1", "preferred_username": "anna", "groups": ["staff"]}
GROUPS = {"console_oidc_admins": "it", "console_oidc_operators": "guards, night", "console_oidc_viewers": "staff"}


@contextlib.asynccontextmanager
async def both(server: NatsServer, admin: Client, **settings: Any) -> AsyncIterator[tuple[OidcProvider, Running]]:
    port = free_port(0)
    async with (
        OidcProvider("tidegate", "s3cret&+ %") as provider,
        console_on(
            server,
            admin,
            console_port=port,
            console_url=settings.pop("console_url", f"http://127.0.0.1:{port}"),
            console_oidc_issuer=provider.issuer,
            console_oidc_client_id="tidegate",
            console_oidc_client_secret="s3cret&+ %",
            **{**GROUPS, **settings},
        ) as console,
    ):
        provider.claims = dict(ANNA)
        yield provider, console
