"""Settings that `python -m services.console` reads from the environment."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from msgspec import Meta

from services.console.web.asker import Role
from shared.runtime.errors import SettingError
from shared.runtime.settings import BusSettings

PORT = 8484
_LONGEST_ISSUER = 256


class ConsoleSettings(BusSettings, frozen=True, kw_only=True):
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
    console_host: Annotated[str, Meta(description="address that the pages and the API listen on")] = "127.0.0.1"
    console_port: Annotated[int, Meta(ge=0, le=65535, description="their port; 0 takes a free one")] = PORT
    console_url: Annotated[
        str,
        Meta(description="address by which people reach it through a proxy, such as https://tide.example.org/console"),
    ] = ""
    console_cert: Annotated[str, Meta(description="path of a certificate chain: it is served by TLS")] = ""
    console_key: Annotated[str, Meta(description="path of its private key")] = ""
    console_passwords: Annotated[
        str,
        Meta(
            description="folder with a file for each role's password, such as console-viewer; empty: the folder of "
            "NATS_PASSWORD_FILE"
        ),
    ] = ""
    console_session_h: Annotated[float, Meta(gt=0, le=720, description="hours after which people sign in again")] = 12.0
    console_proxy_header: Annotated[
        str, Meta(description="header by which a proxy says who asks, such as X-Forwarded-User; empty: none does")
    ] = ""
    console_proxies: Annotated[
        str, Meta(description="addresses of such proxies, with commas, such as 10.0.0.0/8; nobody else is believed")
    ] = "127.0.0.1/32,::1/128"
    console_decoders: Annotated[int, Meta(ge=1, le=64, description="processes that decode pictures")] = 1
    console_clip_max_mb: Annotated[int, Meta(ge=1, le=4096, description="most MB of one clip")] = 256
    console_problems: Annotated[
        str,
        Meta(description="file in which 'tidegate up' says which processes of this machine can't work; empty: none"),
    ] = ""
    console_models: Annotated[
        str,
        Meta(
            description="folder of the detectors that 'tidegate model add' measured, which 'tidegate up' sets; empty: "
            "none"
        ),
    ] = ""
    cost_per_hour: Annotated[float, Meta(ge=0, le=1e6, description="what an hour of a replica costs")] = 0.0
    prometheus_url: Annotated[
        str, Meta(description="where charts of long ranges come from; empty: what the console has seen itself")
    ] = ""

    def __post_init__(self) -> None:
        """Raises SettingError."""
        if issuer := self.console_oidc_issuer:
            if not is_secure_address(issuer) or "?" in issuer or len(issuer) > _LONGEST_ISSUER:
                raise SettingError("CONSOLE_OIDC_ISSUER is no https address: give one such as https://id.example.org")
            if not self.console_oidc_client_id:
                raise SettingError("CONSOLE_OIDC_CLIENT_ID is not set: it is what the provider calls the console")
        if self.console_oidc_issuer and not self.console_url:
            raise SettingError("CONSOLE_OIDC_ISSUER needs CONSOLE_URL: the provider sends people back to it")
        for name, url in (("CONSOLE_URL", self.console_url), ("PROMETHEUS_URL", self.prometheus_url)):
            parts = urlsplit(url)
            if url and (parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment):
                raise SettingError(f"{name} is no address of http or https: give one such as https://tide.example.org")
        if bool(self.console_cert) != bool(self.console_key):
            raise SettingError("CONSOLE_CERT and CONSOLE_KEY go together: set both, or none")
        for path in filter(None, (self.console_cert, self.console_key)):
            if not Path(path).is_file():
                raise SettingError(f"there is no file {path}: CONSOLE_CERT and CONSOLE_KEY are paths of PEM files")
        if self.console_proxy_header and not re.fullmatch(r"[A-Za-z0-9-]{1,64}", self.console_proxy_header):
            raise SettingError("CONSOLE_PROXY_HEADER is no name of a header: give one such as X-Forwarded-User")
        self.proxies  # noqa: B018 - raises

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

    @property
    def proxies(self) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
        """The networks of CONSOLE_PROXIES. Raises SettingError."""
        try:
            return tuple(ipaddress.ip_network(p.strip()) for p in self.console_proxies.split(",") if p.strip())
        except ValueError as e:
            raise SettingError(f"CONSOLE_PROXIES can't be used: {e}; give addresses such as 10.0.0.0/8") from e

    @property
    def sub_path(self) -> str:
        """The path of CONSOLE_URL without a trailing slash: `/console`, or empty."""
        return urlsplit(self.console_url).path.rstrip("/")

    @property
    def is_https(self) -> bool:
        """Whether browsers use TLS, here or at a proxy."""
        return bool(self.console_cert) or self.console_url.startswith("https:")


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
