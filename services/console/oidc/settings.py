"""Settings of the organisation's accounts, from the environment."""

from __future__ import annotations

import ipaddress
from typing import Annotated
from urllib.parse import urlsplit

from msgspec import Meta

from services.console.people.asker import Role
from shared.runtime.errors import SettingError
from shared.runtime.settings import BusSettings

_LONGEST = 256


class OidcSettings(BusSettings, frozen=True, kw_only=True):
    console_oidc_issuer: Annotated[
        str,
        Meta(
            description="OpenID Connect: address of the provider, such as https://id.example.org/realms/main; empty: "
            "nobody signs in by one"
        ),
    ] = ""
    console_oidc_client_id: Annotated[str, Meta(description="what the console is called there")] = ""
    console_oidc_client_secret: Annotated[
        str, Meta(description="its secret there, where it has one; CONSOLE_OIDC_CLIENT_SECRET_FILE is better")
    ] = ""
    console_oidc_scopes: Annotated[str, Meta(description="scopes that are asked for, with spaces")] = "openid profile"
    console_oidc_name: Annotated[str, Meta(description="claim that says what somebody is called")] = (
        "preferred_username"
    )
    console_oidc_groups: Annotated[str, Meta(description="claim that says which groups they are in")] = "groups"
    console_oidc_admins: Annotated[
        str, Meta(description="groups, with commas, whose people are admins, and see all cameras")
    ] = ""
    console_oidc_operators: Annotated[str, Meta(description="groups whose people are operators")] = ""
    console_oidc_viewers: Annotated[
        str,
        Meta(
            description="groups whose people are viewers; where none of the three is set, an admin lets people in one "
            "by one"
        ),
    ] = ""

    def __post_init__(self) -> None:
        """Raises SettingError."""
        if not self.console_oidc_issuer:
            return
        issuer = self.console_oidc_issuer
        if not is_secure_address(issuer) or "?" in issuer or len(issuer) > _LONGEST:
            raise SettingError("CONSOLE_OIDC_ISSUER is no https address: give one such as https://id.example.org")
        if not self.console_oidc_client_id:
            raise SettingError("CONSOLE_OIDC_CLIENT_ID is not set: it is what the provider calls the console")

    @property
    def groups_of(self) -> dict[Role, frozenset[str]]:
        """Return the groups of each role, the highest role first; empty if no group has a role."""
        by_role: dict[Role, str] = {
            "admin": self.console_oidc_admins,
            "operator": self.console_oidc_operators,
            "viewer": self.console_oidc_viewers,
        }
        found = {
            role: frozenset(filter(None, (g.strip() for g in groups.split(",")))) for role, groups in by_role.items()
        }
        return found if any(found.values()) else {}


def is_secure_address(address: str) -> bool:
    """Whether secrets may be sent there: by TLS, or on this machine."""
    parts = urlsplit(address)
    if parts.fragment or not parts.hostname:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(parts.hostname))


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
