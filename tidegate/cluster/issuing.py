"""The certificates of a cluster, from a CA in the folder of passwords: Secrets for deploy/kubernetes/tls.

    issued = issuing.write(Path("secrets"), "tidegate", now)      # the new ones, and the expiry of all

| in `tls/` | what |
|---|---|
| `ca.crt`, `ca.key` | the CA. Its key is in no Secret |
| `NAME/tls.crt`, `NAME/tls.key` | of the Secret NAME, next to `ca.crt` |
"""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import NamedTuple

from shared.runtime import install
from shared.runtime.errors import SettingError
from shared.runtime.private_file import write_private
from tidegate.cluster.certificates import Certificate, wanted

FOLDER = "tls"
CA, CA_KEY = "ca.crt", "ca.key"
CERT, KEY = "tls.crt", "tls.key"


class Issued(NamedTuple):
    """secrets: of the new ones. until: first expiry of all. renewed_from: when a run begins to renew that one."""

    secrets: list[str]
    until: dt.datetime
    renewed_from: dt.datetime


def are_in(folder: Path) -> bool:
    """Return whether a folder of passwords has certificates too."""
    return (folder / FOLDER).is_dir()


def write(folder: Path, namespace: str, now: dt.datetime) -> Issued:
    """Create the CA and the certificates that are missing, mismatched, or expire soon.

    `tenants.changing` locks the folder. Raises SettingError if the extra is not installed, the CA's files can't be
    used, or the CA has expired.
    """
    try:
        from tidegate.cluster import authority
    except ImportError as e:
        raise SettingError(f"certificates take cryptography, which is not installed: {install.command('tls')}") from e
    root = folder / FOLDER
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    root.chmod(0o700)
    ca = authority.ensure(root / CA, root / CA_KEY, now)
    renewed, pairs = [], []
    for certificate in wanted(namespace):
        cert, key = (root / certificate.secret / name for name in (CERT, KEY))
        found = authority.read(cert, key)
        if not found or not ca.is_good(found, certificate, now):
            found = ca.issue(certificate, now)
            cert.parent.mkdir(mode=0o700, exist_ok=True)
            write_private(key, found.key_pem())
            write_private(cert, found.cert_pem())
            renewed.append(certificate.secret)
        pairs.append(found)
    first = min(pairs, key=lambda pair: pair.until)
    return Issued(renewed, first.until, first.renewed_from)


def files(certificate: Certificate) -> list[str]:
    """Return the keys of its Secret, for kustomize's secretGenerator."""
    at = f"{FOLDER}/{certificate.secret}"
    return [f"{CERT}={at}/{CERT}", f"{KEY}={at}/{KEY}", f"{CA}={FOLDER}/{CA}"]
