"""The scaler's settings, and the certificates of its two servers: gRPC, and the page /demand."""

from __future__ import annotations

import ipaddress
from typing import Annotated

import grpc
from msgspec import Meta

from shared.runtime import tls
from shared.runtime.errors import SettingError
from shared.runtime.settings import BusSettings
from shared.runtime.telemetry import logger


class ScalerSettings(BusSettings, frozen=True, kw_only=True):
    scaler_host: Annotated[str, Meta(description="address that the page /demand and gRPC are served on")] = "127.0.0.1"
    scaler_http_port: Annotated[
        int, Meta(ge=0, le=65535, description="port that the page /demand is served on; 0 takes a free one")
    ] = 9091
    scaler_port: Annotated[int, Meta(ge=0, le=65535, description="port that gRPC is served on; 0 takes a free one")] = (
        9090
    )
    scaler_tls_cert: Annotated[str, Meta(description="path of the server's certificate chain, for TLS")] = ""
    scaler_tls_key: Annotated[str, Meta(description="path of the certificate's private key")] = ""
    scaler_client_ca: Annotated[
        str, Meta(description="path of the CA that KEDA's certificate must be signed by, for mutual TLS")
    ] = ""
    scaler_metrics_pages: Annotated[
        str, Meta(description="URLs, with commas and without queries, that a trigger's metricsUrl may name")
    ] = ""

    @property
    def pages(self) -> list[str]:
        return [page for part in self.scaler_metrics_pages.split(",") if (page := part.strip())]


def certificates(s: ScalerSettings) -> tls.Renewing | None:
    """Return the TLS of the page, with KEDA's certificate required or not; None without TLS.

    Raises SettingError for half a configuration, and for unusable files.
    """
    cert, key, client_ca = _files(s)
    return tls.Renewing(lambda: tls.server_context(cert, key, client_ca), cert, key, client_ca) if cert else None


def credentials(s: ScalerSettings) -> grpc.ServerCredentials | None:
    """Return the same for gRPC's server. Changed files are reread at the next handshake. Raises as `certificates`."""
    cert, key, client_ca = _files(s)
    if not cert:
        if not _is_loopback(s.scaler_host):
            logger("scaler").warning(
                "demand is served without TLS beyond this machine: set SCALER_TLS_CERT and SCALER_TLS_KEY, "
                "or keep other clients away by a network policy",
                host=s.scaler_host,
            )
        return None
    # gRPC's own error would only be that it could not bind.
    tls.server_context(cert, key, client_ca)
    files = [file for file in (key, cert, client_ca) if file]
    seen = [file.read() for file in files]

    def fetch() -> grpc.ServerCertificateConfiguration:
        """Return the current files; gRPC calls this at every handshake, as certificates are renewed while we run."""
        nonlocal seen
        try:
            now = [file.read() for file in files]
            if now != seen:
                tls.server_context(cert, key, client_ca)
                seen = now
        except SettingError as e:
            logger("scaler").warning("renewed certificate can't be used: the old one stays", error=str(e))
        return _configuration(seen)

    return grpc.dynamic_ssl_server_credentials(
        _configuration(seen), fetch, require_client_authentication=bool(client_ca)
    )


def _files(s: ScalerSettings) -> tuple[tls.File, tls.File, tls.File]:
    """Return the server's certificate and key, and its clients' CA. Raises SettingError for half of them."""
    cert, key = tls.File("SCALER_TLS_CERT", s.scaler_tls_cert), tls.File("SCALER_TLS_KEY", s.scaler_tls_key)
    client_ca = tls.File("SCALER_CLIENT_CA", s.scaler_client_ca)
    tls.check_pair(cert, key)
    if client_ca and not cert:
        raise SettingError(
            "SCALER_CLIENT_CA is set and SCALER_TLS_CERT is not: mutual TLS needs a certificate and key of its own"
        )
    return cert, key, client_ca


def _configuration(contents: list[bytes]) -> grpc.ServerCertificateConfiguration:
    key, chain, *ca = contents
    return grpc.ssl_server_certificate_configuration([(key, chain)], root_certificates=ca[0] if ca else None)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
