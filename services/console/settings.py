"""Settings that `python -m services.console` reads from the environment."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from msgspec import Meta

from services.console.oidc.settings import OidcSettings
from shared.runtime.errors import SettingError

PORT = 8484


class ConsoleSettings(OidcSettings, frozen=True, kw_only=True):
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
    cost_per_hour: Annotated[float, Meta(ge=0, le=1e6, description="what an hour of a replica costs")] = 0.0
    prometheus_url: Annotated[
        str, Meta(description="where charts of long ranges come from; empty: what the console has seen itself")
    ] = ""

    def __post_init__(self) -> None:
        """Raises SettingError."""
        super().__post_init__()
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
