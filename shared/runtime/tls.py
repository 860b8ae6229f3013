"""Certificates from settings: checked at start with an error that names the setting, and reloaded when renewed.

Example:
    tls = Renewing(lambda: server_context(cert, key, client_ca))
    tls.context()        # from the current files; the former one while they can't be used
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from shared.runtime.errors import SettingError
from shared.runtime.telemetry import logger


class File(NamedTuple):
    """A file from a setting: the variable, and its path, "" if unset."""

    setting: str
    path: str

    def __str__(self) -> str:
        return f"{self.setting}={self.path}"

    def __bool__(self) -> bool:
        return bool(self.path)

    def read(self) -> bytes:
        """Read the file. Raises SettingError."""
        try:
            return Path(self.path).read_bytes()
        except OSError as e:
            raise SettingError(
                f"{self} can't be read ({(e.strerror or str(e)).lower()}): give the path of a file"
            ) from e
        except ValueError as e:  # a null character
            raise SettingError(f"{self} can't be read ({e}): give the path of a file") from e


def check_pair(cert: File, key: File) -> None:
    """Raise SettingError if only one of the two is set."""
    if bool(cert) != bool(key):
        present, missing = (cert, key) if cert else (key, cert)
        raise SettingError(f"{present.setting} is set and {missing.setting} is not: set both, or neither")


def client_context(ca: File, cert: File, key: File) -> ssl.SSLContext:
    """Return a client's context: its CA, or the system's, for servers' certificates, and its own certificate, if any.

    Raises SettingError.
    """
    check_pair(cert, key)
    context = ssl.create_default_context(cadata=_authorities(ca) if ca else None)
    if cert:
        _present(context, cert, key, for_client=True)
    return context


def server_context(cert: File, key: File, client_ca: File) -> ssl.SSLContext:
    """Return a server's context. With `client_ca` a client's certificate must be of that CA; it may show none.

    Raises SettingError.
    """
    check_pair(cert, key)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _present(context, cert, key, for_client=False)
    if client_ca:
        context.verify_mode = ssl.CERT_OPTIONAL
        context.load_verify_locations(cadata=_authorities(client_ca))
    return context


class Renewing:
    """A context that is rebuilt when its files change. Raises SettingError at first."""

    def __init__(self, make: Callable[[], ssl.SSLContext], *files: File) -> None:
        self._make = make
        self._files = [file for file in files if file]
        self._seen = self._stamps()
        self._context = make()

    def context(self) -> ssl.SSLContext:
        stamps = self._stamps()
        if stamps != self._seen:
            self._seen = stamps
            try:
                self._context = self._make()
            except SettingError as e:
                logger("tls").warning("renewed certificate can't be used: the old one stays", error=str(e))
        return self._context

    def _stamps(self) -> list[tuple[int, int, int] | None]:
        return [_stamp(Path(file.path)) for file in self._files]


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """Return a value that changes when the file is written or replaced; None if it is missing."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return status.st_mtime_ns, status.st_ino, status.st_size


def _authorities(ca: File) -> str:
    """Return the certificates of a CA file."""
    found = _certificates(ca)
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=found)
    except (ssl.SSLError, ValueError) as e:
        raise SettingError(f"{ca} can't be used ({e}): give certificates in PEM format") from e
    return found


def _certificates(file: File) -> str:
    text = file.read().decode("ascii", "replace")
    found = re.findall(r"-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----", text)
    if not found:
        raise SettingError(f"{file} has no certificate in it: give certificates in PEM format")
    return "\n".join(found) + "\n"


def _present(context: ssl.SSLContext, cert: File, key: File, *, for_client: bool) -> None:
    """Load a certificate into the context. Raises SettingError for one that its peers would refuse."""
    _certificates(cert)
    if b"PRIVATE KEY-----" not in key.read():
        raise SettingError(f"{key} has no private key in it: give it in PEM format")
    try:
        # Without a password OpenSSL would ask for it on the terminal.
        context.load_cert_chain(cert.path, key.path, password="")
    except (OSError, ValueError) as e:
        if getattr(e, "reason", "") == "KEY_VALUES_MISMATCH":
            raise SettingError(f"{key} is not the key of {cert}: give the two that were made together") from e
        raise SettingError(f"{cert} and {key} can't be used ({e}): give both in PEM format, the key unencrypted") from e
    if reason := _refusal(cert, key, for_client=for_client):
        raise SettingError(f"{cert} can't be used: {reason}. Give a certificate that is valid now")


def _refusal(cert: File, key: File, *, for_client: bool) -> str:
    """Return why a peer that trusts this very certificate would refuse it; "" if it would not.

    It uses a handshake in memory: OpenSSL checks the dates and the purpose, and Python exposes neither.
    """
    (first, *_) = _certificates(cert).split("-----END CERTIFICATE-----")
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    for context in (server, client):
        context.load_cert_chain(cert.path, key.path, password="")
    judge = server if for_client else client
    judge.verify_mode = ssl.CERT_REQUIRED
    judge.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    judge.load_verify_locations(cadata=f"{first}-----END CERTIFICATE-----\n")
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = (client.wrap_bio(down, up), server.wrap_bio(up, down, server_side=True))
    for side in sides * 3:
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
        except ssl.SSLCertVerificationError as e:
            return e.verify_message
        except ssl.SSLError as e:
            return str(e)
    return ""
