"""The certificates of a cluster, from a CA in the folder of passwords: the Secrets that deploy/kubernetes/tls mounts.

    made = issuing.write(Path("secrets"), "tidegate", now)      # what is new, and until when all of them hold

| in `tls/` | what |
|---|---|
| `ca.crt`, `ca.key` | the CA. Its key is in no Secret |
| `NAME/tls.crt`, `NAME/tls.key` | of the Secret NAME, beside `ca.crt` |
"""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import NamedTuple

from shared.runtime.errors import SettingError
from tidegate.cluster.certificates import Certificate, wanted
from tidegate.local.encryption import write_private

FOLDER = "tls"
CA, CA_KEY = "ca.crt", "ca.key"
CERT, KEY = "tls.crt", "tls.key"
# An extra's, which is imported where certificates are made and nowhere else.
_EXTRA = "tidegate[tls]"


class Made(NamedTuple):
    """secrets: of the new ones. until: when the first of all ends. renewed_from: when a run begins to renew it."""

    secrets: list[str]
    until: dt.datetime
    renewed_from: dt.datetime


def are_in(folder: Path) -> bool:
    """Whether a folder of passwords has certificates too."""
    return (folder / FOLDER).is_dir()


def write(folder: Path, namespace: str, now: dt.datetime) -> Made:
    """Make the CA and the certificates that are missing, differ from what is wanted, or end soon.

    The folder is held by `tenants.changing`. Raises SettingError where the extra is not installed, the CA's files can't
    be used, or the CA has ended.
    """
    try:
        from tidegate.cluster import authority
    except ImportError as e:
        raise SettingError(f"certificates take cryptography, which is not installed: pip install '{_EXTRA}'") from e
    root = folder / FOLDER
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    root.chmod(0o700)
    ca = authority.kept(root / CA, root / CA_KEY, now)
    made, kept = [], []
    for certificate in wanted(namespace):
        cert, key = (root / certificate.secret / name for name in (CERT, KEY))
        found = authority.read(cert, key)
        if not found or not ca.is_good(found, certificate, now):
            found = ca.issue(certificate, now)
            cert.parent.mkdir(mode=0o700, exist_ok=True)
            write_private(key, found.key_pem())
            write_private(cert, found.cert_pem())
            made.append(certificate.secret)
        kept.append(found)
    first = min(kept, key=lambda pair: pair.until)
    return Made(made, first.until, first.renewed_from)


def files(certificate: Certificate) -> list[str]:
    """The keys of its Secret, as kustomize's secretGenerator takes them."""
    at = f"{FOLDER}/{certificate.secret}"
    return [f"{CERT}={at}/{CERT}", f"{KEY}={at}/{KEY}", f"{CA}={FOLDER}/{CA}"]
